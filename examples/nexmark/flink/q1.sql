SELECT kind, auction, bidder, 0.908E0 * price AS price, channel, url, date_time, extra FROM bid
