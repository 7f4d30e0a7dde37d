//! What every state file of this format keeps: each check is a query for what breaks it. No key and
//! no value of a row stands in what is said.

/// One check.
pub(super) struct Check {
    /// What it is about.
    pub(super) what: &'static str,
    /// What is said where nothing breaks it.
    pub(super) holds: &'static str,
    /// What breaks it, as text, a row each.
    pub(super) sql: &'static str,
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        what: "positions",
        holds: "of what is stored are not ahead of the checkpoints",
        // Events and checkpoint are one transaction, so nothing stored is newer than the checkpoint.
        // A source without one has nothing of its present epoch.
        sql: "WITH upto AS (SELECT id, name, coalesce(checkpoint, printf('%010d', epoch)) AS at
                FROM source)
              SELECT DISTINCT 'source ' || name || ' has a held change that is newer than its checkpoint'
                FROM held h JOIN upto u ON u.id = h.source WHERE h.position > u.at
              UNION ALL
              SELECT DISTINCT 'source ' || name || ' remembers a change that is newer than its checkpoint'
                FROM guard g JOIN upto u ON u.id = g.source WHERE g.position > u.at
              UNION ALL
              SELECT 'source ' || name || ' is in epoch ' || s.epoch || ' and told a key of epoch '
                  || CAST(substr(max(p.version), 1, 10) AS INTEGER)
                FROM published p JOIN source s ON s.id = p.source GROUP BY s.id
                HAVING CAST(substr(max(p.version), 1, 10) AS INTEGER) > s.epoch",
    },
    Check {
        what: "deliveries",
        holds: "have their events, and each state has what it needs",
        sql: "SELECT 'delivery ' || offset || ' of destination ' || destination || ' has no event'
                FROM delivery d WHERE NOT EXISTS (SELECT 1 FROM outbox o WHERE o.offset = d.offset)
              UNION ALL
              SELECT 'delivery ' || offset || ' is ' || state || ', which is no state' FROM delivery
                WHERE state NOT IN ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held',
                  'delivered', 'superseded', 'discarded')
              UNION ALL
              SELECT 'delivery ' || offset || ' is ' || state || ' and has no time' FROM delivery
                WHERE state IN ('sending', 'unknown', 'accepted', 'backoff') AND due_at IS NULL
              UNION ALL
              SELECT 'delivery ' || offset || ' is ' || state || ' and counts as '
                  || iif(open = 1, 'unfinished', 'finished') FROM delivery
                WHERE (open IS 1) <> (state IN
                  ('queued', 'sending', 'unknown', 'accepted', 'backoff', 'held'))
              UNION ALL
              SELECT 'delivery ' || offset || ' is held without a cause' FROM delivery
                WHERE state = 'held' AND held_cause IS NULL
              UNION ALL
              SELECT 'delivery ' || offset || ' is ' || state || ' and was never sent' FROM delivery
                WHERE state IN ('sending', 'unknown', 'accepted') AND attempt = 0
              UNION ALL
              SELECT 'delivery ' || offset || ' is a fact and was superseded' FROM delivery
                WHERE state = 'superseded' AND kind = 0",
    },
    Check {
        what: "lanes",
        holds: "have at most one request out, the oldest of its lane",
        sql: "SELECT 'delivery ' || offset || ' of destination ' || destination || ' is ' || state
                  || ', and an older one of its lane is not finished'
                FROM delivery d WHERE state IN ('sending', 'unknown', 'accepted') AND EXISTS (
                  SELECT 1 FROM delivery e INDEXED BY delivery_lane
                  WHERE e.destination = d.destination AND e.lane = d.lane AND e.offset < d.offset AND e.open = 1)",
    },
    Check {
        what: "offsets",
        holds: "were given out once",
        sql: "SELECT 'the next event would get a number that was used' FROM sqlite_sequence
                WHERE name = 'outbox' AND seq < (SELECT coalesce(max(offset), 0) FROM outbox)
              UNION ALL
              SELECT 'the number of the next event is not known'
                WHERE EXISTS (SELECT 1 FROM outbox) AND NOT EXISTS (
                  SELECT 1 FROM sqlite_sequence WHERE name = 'outbox')",
    },
    Check {
        what: "snapshots",
        holds: "of tables that were read leave nothing behind",
        sql: "SELECT DISTINCT 'table ' || r.table_name || ' has ranges, and is not being read'
                FROM snapshot_range r WHERE NOT EXISTS (SELECT 1 FROM snapshot s
                  WHERE s.source = r.source AND s.table_name = r.table_name AND NOT s.done)",
    },
    Check {
        what: "replicas",
        holds: "have a place for each row, and a row for each place",
        sql: "SELECT DISTINCT 'rows of replica ' || replica || ', which is not there' FROM replica_row r
                WHERE NOT EXISTS (SELECT 1 FROM replica p WHERE p.id = r.replica)
              UNION ALL
              SELECT DISTINCT 'places of index ' || idx || ' without their row' FROM replica_place p
                LEFT JOIN replica_index i ON i.id = p.idx WHERE NOT EXISTS (
                  SELECT 1 FROM replica_row r WHERE r.replica = i.replica AND r.row_key = p.row_key)",
    },
    Check {
        what: "relations",
        holds: "are known to all that is worked out of them",
        sql: "SELECT DISTINCT 'marks of relation ' || relation || ', which is not there' FROM mark m
                WHERE NOT EXISTS (SELECT 1 FROM relation r WHERE r.id = m.relation)
              UNION ALL
              SELECT DISTINCT 'rows told by relation ' || relation || ', which is not there' FROM told t
                WHERE NOT EXISTS (SELECT 1 FROM relation r WHERE r.id = t.relation)
              UNION ALL
              SELECT DISTINCT 'groups of relation ' || relation || ', which is not there'
                FROM group_part g WHERE NOT EXISTS (SELECT 1 FROM relation r WHERE r.id = g.relation)",
    },
];
