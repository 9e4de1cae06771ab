-- The ledger's tables. Owned by the superuser: the application may append and nothing else.
CREATE TABLE bookings (
    id                bigint PRIMARY KEY CHECK (id > 0),
    booked_at         timestamptz NOT NULL,
    reference         text NOT NULL UNIQUE,
    memo              text NOT NULL,
    attachment_sha256 text NOT NULL CHECK (attachment_sha256 ~ '^[0-9a-f]{64}$'),
    attachment_bytes  bigint NOT NULL CHECK (attachment_bytes >= 0),
    previous_hash     text NOT NULL UNIQUE,
    hash              text NOT NULL UNIQUE
);

CREATE TABLE entries (
    booking_id bigint NOT NULL REFERENCES bookings,
    line       smallint NOT NULL,
    account    text NOT NULL,
    amount     bigint NOT NULL CHECK (amount <> 0),
    currency   text NOT NULL,
    PRIMARY KEY (booking_id, line)
);

-- One row: the end of the chain. Its row lock serialises all writers, and it gives away bookings missing at the end.
CREATE TABLE chain_head (
    one       boolean PRIMARY KEY DEFAULT true CHECK (one),
    id        bigint NOT NULL,
    booked_at timestamptz,
    hash      text NOT NULL
) WITH (fillfactor = 20);
INSERT INTO chain_head (id, hash) VALUES (0, repeat('0', 64));

CREATE FUNCTION entries_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM entries WHERE booking_id = NEW.booking_id GROUP BY currency HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'the entries of booking % do not sum to zero', NEW.booking_id;
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER entries_balance AFTER INSERT ON entries
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION entries_balance();

GRANT SELECT, INSERT ON bookings, entries TO ledger;
GRANT SELECT, UPDATE ON chain_head TO ledger;
