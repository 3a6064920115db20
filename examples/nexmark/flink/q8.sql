SELECT people.id, people.name, people.window_start
FROM (
    SELECT id, name, window_start, window_end
    FROM TABLE(TUMBLE(TABLE person, DESCRIPTOR(event_time), INTERVAL '10' SECOND))
    GROUP BY id, name, window_start, window_end
) AS people
JOIN (
    SELECT seller, window_start, window_end
    FROM TABLE(TUMBLE(TABLE auction, DESCRIPTOR(event_time), INTERVAL '10' SECOND))
    GROUP BY seller, window_start, window_end
) AS sellers
ON people.id = sellers.seller AND people.window_start = sellers.window_start AND people.window_end = sellers.window_end
