//! Runs a small program over each event, as an interpreter does that was compiled to WebAssembly: a loop over instructions
//! that are known at run time only, a stack, a memory.

use std::hint::black_box;

use dirigo_operator::prelude::*;

/// The `config` of the guest.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How often the program goes round for an event.
    rounds: u32,
}

/// An instruction: what it takes comes from the stack, and what it makes goes there.
#[derive(Clone, Copy, Debug)]
enum Instruction {
    Push(u8),
    Load(Address),
    Store(Address),
    Add,
    Subtract,
    Multiply,
    Xor,
    /// To the instruction of this number, unless what it takes is zero.
    JumpIf(u8),
}
use Instruction::{Add, JumpIf, Load, Multiply, Push, Store, Subtract, Xor};

/// A cell of the memory.
#[derive(Clone, Copy, Debug)]
enum Address {
    Rounds,
    Event,
    Hash,
}

const CELLS: usize = 3;

/// `hash = (hash ^ event) * 31 + rounds`, for all rounds from the last to the first.
const PROGRAM: &[Instruction] = &[
    Load(Address::Hash),
    Load(Address::Event),
    Xor,
    Push(31),
    Multiply,
    Load(Address::Rounds),
    Add,
    Store(Address::Hash),
    Load(Address::Rounds),
    Push(1),
    Subtract,
    Store(Address::Rounds),
    Load(Address::Rounds),
    JumpIf(0),
];

/// The operator.
#[derive(Debug)]
pub struct Interpreter {
    program: &'static [Instruction],
    rounds: u32,
}

#[operator]
impl Map for Interpreter {
    type Config = Config;
    type Event = [u8];
    type Output = Raw<[u8; 8]>;

    fn open(config: Config) -> Result<Self> {
        Ok(Interpreter {
            // The compiler could run some of what it knows.
            program: black_box(PROGRAM),
            rounds: config.rounds,
        })
    }

    fn map(&mut self, event: &[u8]) -> Result<Raw<[u8; 8]>> {
        let mut memory = [0; CELLS];
        memory[Address::Rounds as usize] = self.rounds.into();
        memory[Address::Event as usize] = word(event);
        run(self.program, &mut memory);
        Ok(Raw(memory[Address::Hash as usize].to_le_bytes()))
    }
}

fn word(event: &[u8]) -> u64 {
    event
        .iter()
        .fold(0, |word: u64, byte| word.rotate_left(8) ^ u64::from(*byte))
}

/// Runs until the program is at its end.
fn run(program: &[Instruction], memory: &mut [u64; CELLS]) {
    let mut stack = Vec::new();
    let mut next = 0;
    while let Some(instruction) = program.get(next) {
        next += 1;
        match *instruction {
            Push(number) => stack.push(number.into()),
            Load(address) => stack.push(memory[address as usize]),
            Store(address) => memory[address as usize] = pop(&mut stack),
            Add => combine(&mut stack, u64::wrapping_add),
            Subtract => combine(&mut stack, u64::wrapping_sub),
            Multiply => combine(&mut stack, u64::wrapping_mul),
            Xor => combine(&mut stack, |left, right| left ^ right),
            JumpIf(number) if pop(&mut stack) != 0 => next = number.into(),
            JumpIf(_) => {}
        }
    }
}

fn combine(stack: &mut Vec<u64>, operation: fn(u64, u64) -> u64) {
    let right = pop(stack);
    let left = pop(stack);
    stack.push(operation(left, right));
}

fn pop(stack: &mut Vec<u64>) -> u64 {
    stack.pop().expect("the program takes no more than it put there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_does_what_it_would_do_in_rust() {
        let mut interpreter = Interpreter::open(Config { rounds: 5 }).expect("it takes any number of rounds");
        let Raw(output) = interpreter.map(b"event").expect("it takes any event");
        let hash = (1..=5).rev().fold(0_u64, |hash, rounds| {
            (hash ^ word(b"event")).wrapping_mul(31).wrapping_add(rounds)
        });
        assert_eq!(u64::from_le_bytes(output), hash);
    }
}
