SELECT bid.auction, bid.bidder, bid.price, bid.date_time
FROM bid
JOIN (
    SELECT MAX(price) AS price, window_time
    FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(event_time), INTERVAL '10' SECOND))
    GROUP BY window_start, window_end, window_time
) AS highest
ON bid.price = highest.price AND bid.event_time BETWEEN highest.window_time - INTERVAL '9.999' SECOND AND highest.window_time
