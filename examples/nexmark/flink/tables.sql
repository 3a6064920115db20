-- The events, as Dirigo's source of Nexmark makes them. Times never go back, but ten events have the same one: those of a millisecond are
-- complete with the first event behind it.
CREATE TABLE events (
    kind STRING,
    id BIGINT,
    name STRING,
    email_address STRING,
    credit_card STRING,
    city STRING,
    state STRING,
    item_name STRING,
    description STRING,
    initial_bid BIGINT,
    reserve BIGINT,
    expires BIGINT,
    seller BIGINT,
    category BIGINT,
    auction BIGINT,
    bidder BIGINT,
    price BIGINT,
    channel STRING,
    url STRING,
    date_time BIGINT,
    extra STRING,
    event_time AS TO_TIMESTAMP_LTZ(date_time, 3),
    WATERMARK FOR event_time AS event_time - INTERVAL '0.001' SECOND
) WITH (
    'connector' = 'filesystem',
    'path' = '${events}',
    'format' = 'json'
);

CREATE VIEW person AS SELECT id, name, email_address, credit_card, city, state, date_time, extra, event_time FROM events WHERE kind = 'person';

CREATE VIEW auction AS
SELECT id, item_name, description, initial_bid, reserve, date_time, expires, seller, category, extra, event_time FROM events WHERE kind = 'auction';

CREATE VIEW bid AS SELECT kind, auction, bidder, price, channel, url, date_time, extra, event_time FROM events WHERE kind = 'bid';
