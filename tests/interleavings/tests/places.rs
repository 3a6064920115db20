//! Who waits for a place, and who gives one up.

use dirigo_interleavings::LastTurn::{ComesToRest, LastsForEver, LeavesPlace};
use dirigo_interleavings::{World, check};

/// Runs a world in which nobody who waits depends on a sweep.
fn check_without_sweeps(threads: usize, world: impl Fn() -> World + Clone + Send + Sync + 'static) {
    check(move || {
        let world = world();
        world.run_all(threads);
        assert!(!world.forgot_a_place(), "there is a place, and somebody waits for it");
        assert!(world.is_done());
    });
}

#[test]
fn whoever_waits_gets_the_place_that_another_gives_back() {
    check_without_sweeps(3, || {
        let mut world = World::new(1);
        world.add_tenant(None, &[1, 1, 1], LeavesPlace);
        world
    });
}

#[test]
fn whoever_waits_gets_the_place_that_another_of_its_tenant_gives_back() {
    check_without_sweeps(3, || {
        let mut world = World::new(2);
        world.add_tenant(Some(1), &[1, 1, 1], LeavesPlace);
        world
    });
}

#[test]
fn a_place_that_the_budget_of_who_was_woken_for_it_rules_out_is_passed_on() {
    check(|| {
        let mut world = World::new(2);
        world.add_tenant(None, &[1, 1], LeavesPlace);
        world.add_tenant(Some(1), &[1, 1], LastsForEver);
        world.add_tenant(None, &[1], LeavesPlace);
        world.run_all(3);
        assert!(!world.forgot_a_place(), "there is a place, and somebody waits for it");
    });
}

/// Runs two actors of a tenant, of which the first to have a place comes to rest with it.
fn check_second_look(places: u32, active_max: Option<u32>) {
    check(move || {
        let mut world = World::new(places);
        world.add_tenant(active_max, &[1, 1], ComesToRest);
        world.run_all(2);
        assert!(!world.forgot_a_place(), "there is a place, and somebody waits for it");
        assert!(!world.forgot_an_idle_actor(), "an actor at rest was there to be seen");
        // One that was coming to rest when both looked.
        world.sweep();
        world.run_ready(1);
        assert!(world.is_done());
    });
}

#[test]
fn an_actor_that_came_to_rest_between_the_look_and_the_wait_gives_up_its_place() {
    check_second_look(1, None);
}

#[test]
fn an_actor_that_came_to_rest_between_the_look_and_the_wait_gives_up_its_place_of_the_tenant() {
    check_second_look(2, Some(1));
}

#[test]
fn actors_of_two_tenants_that_come_and_go_all_get_their_turns() {
    check(|| {
        let mut world = World::new(2);
        world.add_tenant(Some(1), &[2, 1], ComesToRest);
        world.add_tenant(None, &[2, 1], ComesToRest);
        world.run_all(3);
        assert!(!world.forgot_a_place(), "there is a place, and somebody waits for it");
        while !world.is_done() {
            let before = world.scheduled();
            world.sweep();
            assert!(world.scheduled() > before, "a sweep helped nobody");
            world.run_ready(3);
        }
    });
}
