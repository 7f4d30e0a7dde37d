//! One destination file that uses everything, and what can be wrong with it.

/// A whole file.
pub(crate) const WHOLE: &str = r#"channel: whole
title: Whole
proven: documentation
resend: verify
settings:
  url: {type: url, ask: where?}
  user: {type: text, ask: who?, default: me}
  key: {type: secret, ask: which key?}
  sites: {type: map, ask: which sites?}
  some: {type: list, ask: which of them?, default: ["*"]}
  buffer: {type: number, ask: how many are kept back?, default: 1}
  all: {type: flag, ask: all of them?, optional: true}
url: setting.url
timeout: 20s
headers: {accept: "'application/json'"}
auth:
  oauth2:
    grant: jwt_bearer
    token_url: setting.url || '/token'
    client_id: setting.user
    client_secret: setting.key
    client: basic
    form: {scope: "'stock'"}
    headers: {x-app: setting.user}
    jwt: {algorithm: PS256, key: setting.key, key_id: setting.user, claims: {iss: setting.user}, expires: 5m, as_client: true}
    send: {x-token: token, x-session: {base64: "setting.user || ':' || token", before: "Session "}}
  csrf:
    get: /token
    header: x-csrf-token
    refused: {status: 403, at: $header.x-csrf-token, is: Required}
limits:
  requests: 4
  per: 1s
  per_day: 1000
  concurrent: 2
  bytes: 64KiB
  points: {max: 1000, per_second: 50, left_at: extensions.left, max_at: extensions.max, per_second_at: extensions.rate}
  accepted_within: 1h
  ask_every: 10s
check: {get: /me, query: {fields: "'id'"}, done: {status: 200}}
answers:
  - {status: [503, 520-529], means: retry, after: wait, says: message}
  - {at: errors.*.code, has: [thrott, limit], means: throttled, says: too many requests}
  - {at: token, absent: true, status: 401, means: login}
  - {at: error.code, is: [7, no_item], means: rejected, says: error.message, atomic: true}
events:
  inventory.availability.v1:
    where: active
    batch: 10
    steps:
      - when: site_allowed(location, setting.some)
        find:
          name: item
          by: sku
          get: /items
          query: {filter: {$keys: "'sku eq ''' || key || ''''", join: " or "}, site: [setting.user, "'b c'"]}
          headers: {prefer: "'none'"}
          list: value
          key: sku
          take: {item: id, etag: '"@odata.etag"', lines: lines}
          missing: missing
          says: there is no such item
          first: true
          cache: 1h
          most: 20
          done: value
          answers: [{status: 404, means: missing}]
      - send:
          post: /stock
          group: dict(sites, location)
          most: 5
          headers: {if-match: found.etag, idempotency-key: request_key}
          body:
            $$meta: {$keep: gtin}
            note: {$text: "it's so"}
            seen: {$member: "'item,' || sku", is: location}
            first: {$when: "event.op = 'delete'", then: true, else: false}
            all: {$join: [[sku], {$each: incoming, as: item.qty}]}
            items:
              $items:
                id: found.item
                site: dict(sites, location)
                left: greatest(available - setting.buffer, 0)
                at: event.index
                due: {$each: incoming, where: item.qty > 0, as: {qty: item.qty, on: item.due_on}}
                line: {$pick: found.lines, key: site, is: location, take: id, else: null}
          content_type: application/vnd.stock+json
          points: 3
          report:
            list: results
            index: at
            done: {at: status, is: [200-299, ok, true]}
            answers: [{means: rejected, says: reason}]
            others: unknown
            atomic: true
          take: {result: id}
      - when: "cast(found.result as text) = '13'"
        hold: a result that nobody can post
      - when: "found.result is not null"
        send:
          put: /stock/{found.result}/post
          form: {what: "'post'"}
          done: [{status: 204}, posted]
          accepted:
            ticket: job
            ask:
              get: /jobs/{ticket}
              waiting: {at: state, is: RUNNING}
              done: {at: state, is: DONE}
              answers: [{at: state, is: FAILED, means: rejected, says: why}]
              take: {result: result}
            then:
              - get: /documents/{found.result}
                points: 5
                done: address
                take: {address: address}
              - get: "{found.address}"
                away: [example.net, files.example]
                report: {list: issues, id: number, is: event.offset + 1, done: {at: level, is: INFO}, answers: [{at: level, is: ERROR, means: rejected, says: why}], others: done}
    delete: {steps: [{send: {delete: "/stock/{sku}", done: {status: [204, 404]}}}]}
    conflict: {from: item, tries: 2}
    read:
      steps:
        - find: {name: stock, by: sku, get: "/stock/{sku}", take: {left: left}, missing: missing}
      compare: {left: {holds: found.left, would: "greatest(available - setting.buffer, 0)"}}
  inventory.movement.v1:
    steps:
      - send:
          post: /movements
          headers: {x.movement: event.id}
          body: {id: event.id, qty: quantity}
          part: file
          report: {list: results, id: id, is: event.id, done: ok}
    read:
      steps:
        - find: {name: movement, get: "/movements/{event.id}", take: {qty: qty}, missing: missing}
      compare: {qty: {holds: found.qty, would: quantity}}
tests:
  - name: a tombstone takes it out
    given: [{type: inventory.availability.v1, key: {sku: A/1}, op: delete}]
    exchanges:
      - {request: {delete: /stock/A%2F1}, answer: {status: 204}}
    outcomes: [applied]
  - name: what is asked for and what is sent
    settings: {sites: {MAIN: "7"}}
    given: [{type: inventory.availability.v1, key: {sku: A, location: MAIN}, body: {active: true, available: "5.5", incoming: [{qty: "2", due_on: 2026-12-01}, {qty: "0", due_on: 2026-12-02}]}}]
    exchanges:
      - request: {get: "/items?filter=sku%20eq%20%27A%27&site=me&site=b%20c"}
        answer: {body: {value: [{sku: A, id: 12345678901234567890, "@odata.etag": 'W/"1"', lines: [{site: MAIN, id: l1}]}]}}
      - request:
          headers: {if-match: 'W/"1"', accept: application/json, content-type: application/vnd.stock+json}
          body: {$meta: null, all: [A, 2, 0], note: "it's so", seen: {"item,A": MAIN}, first: false, items: [{id: 12345678901234567890, site: "7", left: 4.5, at: 0, due: [{qty: 2, on: 2026-12-01}], line: l1}]}
        answer: {body: {id: r 1, results: [{at: 0, status: 201}]}}
      - request: {put: /stock/r%201/post, form: {what: post}}
        answer: {status: 202, body: {posted: true, job: j1}}
    outcomes: [{accepted: "3:j1"}]
  - name: what the file has a reason to hold
    settings: {sites: {MAIN: "7"}}
    given: [{type: inventory.availability.v1, key: {sku: A, location: MAIN}, body: {active: true}}]
    exchanges:
      - answer: {body: {value: [{sku: A, id: 1, lines: []}]}}
      - answer: {body: {id: 13, results: [{at: 0, status: 201}]}}
    outcomes: [{rejected: a result that nobody can post}]
  - name: a job that failed
    taken: "3:j1"
    given: [{type: inventory.availability.v1, key: {sku: A, location: MAIN}, body: {active: true}}]
    exchanges: [{request: {get: /jobs/j1}, answer: {body: {state: FAILED, why: no}}}]
    outcomes: [{rejected: "no"}]
  - name: a file in a form
    given: [{type: inventory.movement.v1, key: {movement_id: "1"}, body: {quantity: "-3"}}]
    exchanges:
      - request: {post: /movements, headers: {x.movement: evt_00000000000000000000000000000001}, body: {qty: -3}}
        answer: {body: {results: [{id: evt_00000000000000000000000000000001, ok: true}]}}
    outcomes: [applied]
  - name: a job with a report at another server
    taken: "3:j1"
    given:
      - {type: inventory.availability.v1, key: {sku: A, location: MAIN}, body: {active: true}}
      - {type: inventory.availability.v1, key: {sku: B, location: MAIN}, body: {active: true}}
      - {type: inventory.availability.v1, key: {sku: C, location: MAIN}, body: {active: true}}
    exchanges:
      - {request: {get: /jobs/j1}, answer: {body: {state: DONE, result: d 1}}}
      - {request: {get: /documents/d%201}, answer: {body: {address: "https://a.example.net/r?signed=%2F"}}}
      - request: {get: "https://a.example.net/r?signed=%2F"}
        answer: {body: {issues: [{number: 1, level: INFO, why: fine}, {number: 2, level: ERROR, why: no}, {number: 9, level: ERROR, why: of another}]}}
    outcomes: [applied, {rejected: "no"}, applied]
  - name: a failure that names nobody is everybody's
    taken: "3:j1"
    given:
      - {type: inventory.availability.v1, key: {sku: A, location: MAIN}, body: {active: true}}
      - {type: inventory.availability.v1, key: {sku: B, location: MAIN}, body: {active: true}}
    exchanges:
      - {answer: {body: {state: DONE, result: d1}}}
      - {answer: {body: {address: "https://files.example/r"}}}
      - {answer: {body: {issues: [{number: 2, level: ERROR, why: no}, {level: ERROR, why: it cannot be read}]}}}
    outcomes: [{rejected: it cannot be read}, {rejected: "no"}]
  - name: a report that leads to a server nobody named
    taken: "3:j1"
    given: [{type: inventory.availability.v1, key: {sku: A, location: MAIN}, body: {active: true}}]
    exchanges:
      - {answer: {body: {state: DONE, result: d1}}}
      - {answer: {body: {address: "https://example.net.evil.example/r"}}}
    outcomes: [{unknown: the channel does not name}]
  - name: a report that is not there
    taken: "3:j1"
    given: [{type: inventory.availability.v1, key: {sku: A, location: MAIN}, body: {active: true}}]
    exchanges: [{answer: {body: {state: DONE}}}]
    outcomes: [{unknown: a part of the address is empty}]
  - name: a document that cannot be had now is asked for again
    taken: "3:j1"
    given: [{type: inventory.availability.v1, key: {sku: A, location: MAIN}, body: {active: true}}]
    exchanges:
      - {answer: {body: {state: DONE, result: d1}}}
      - {answer: {status: 503}}
    outcomes: [{accepted: "3:j1"}]
  - name: read back
    purpose: verify
    given: [{type: inventory.movement.v1, key: {movement_id: "1"}, body: {quantity: "-3"}}]
    exchanges: [{answer: {body: {qty: "-3.0"}}}]
    outcomes: [applied]
"#;

/// A name, what is replaced, and by what.
pub(crate) const BROKEN: &[(&str, &str, &str)] = &[
    ("a key that is none", "timeout: 20s", "timout: 20s"),
    ("no address", "url: setting.url\ntimeout", "timeout"),
    ("no word on twice", "resend: verify\n", ""),
    (
        "a word that is none",
        "proven: documentation",
        "proven: docs",
    ),
    (
        "a setting without a type",
        "user: {type: text, ask: who?, default: me}",
        "user: {ask: who?, default: me}",
    ),
    (
        "a setting's type that is none",
        "{type: flag, ask",
        "{type: bool, ask",
    ),
    (
        "a default that does not fit",
        "default: 1}",
        "default: one}",
    ),
    (
        "a secret with a default",
        "{type: secret, ask: which key?}",
        "{type: secret, ask: which key?, default: x}",
    ),
    (
        "a setting that is not there",
        "client_id: setting.user",
        "client_id: setting.usr",
    ),
    (
        "a map used as a text",
        "site: dict(sites, location)\n                left",
        "site: setting.sites\n                left",
    ),
    (
        "a map that is not there",
        "group: dict(sites, location)",
        "group: dict(site, location)",
    ),
    ("a time that is none", "per: 1s", "per: 1 second"),
    ("a size that is none", "bytes: 64KiB", "bytes: 64000"),
    ("a rate without a number", "  requests: 4\n", ""),
    ("a grant that is none", "grant: jwt_bearer", "grant: jwt"),
    (
        "two ways to log in",
        "  csrf:\n",
        "  bearer: setting.key\n  csrf:\n",
    ),
    (
        "an event type that is none",
        "inventory.movement.v1:\n",
        "inventory.movements.v1:\n",
    ),
    (
        "a field that is none",
        "left: greatest(available",
        "left: greatest(availible",
    ),
    ("a field of another type", "qty: quantity}", "qty: sku + 1}"),
    ("a test that is no test", "where: active", "where: sku"),
    (
        "found before it is looked for",
        "when: site_allowed(location, setting.some)",
        "when: found.item is null",
    ),
    (
        "found under another name",
        "id: found.item",
        "id: found.items",
    ),
    (
        "the found without its word",
        "if-match: found.etag",
        "if-match: etag",
    ),
    (
        "an element outside a list",
        "at: event.index",
        "at: item.qty",
    ),
    (
        "an element's field that is none",
        "on: item.due_on",
        "on: item.due",
    ),
    ("a list that is none", "$each: incoming", "$each: sku"),
    (
        "lists that are none",
        "[[sku], {$each: incoming, as: item.qty}]}",
        "sku}",
    ),
    ("a form that is none", "{$keep: gtin}", "{$kept: gtin}"),
    (
        "items where nothing is sent",
        "{$keys: \"'sku eq ''' || key || ''''\", join: \" or \"}",
        "{$items: sku}",
    ),
    (
        "fewer than one event",
        "post: /movements\n",
        "post: /movements\n          most: 5\n",
    ),
    (
        "keys where nothing is looked for",
        "note: {$text: \"it's so\"}",
        "note: {$keys: true}",
    ),
    ("no success", "done: {status: [204, 404]}", "points: 1"),
    (
        "an answer's place that is none",
        "says: error.message",
        "says: error..message",
    ),
    (
        "an answer's bracket",
        "list: results\n            index",
        "list: results[0]\n            index",
    ),
    ("a status that is none", "520-529", "520-999"),
    (
        "a meaning that is none",
        "means: throttled",
        "means: throttle",
    ),
    (
        "a comparison without a place",
        "- {at: error.code, is: [7, no_item]",
        "- {is: [7, no_item]",
    ),
    (
        "halves of what was not refused",
        "means: retry, after: wait",
        "means: retry, atomic: true, after: wait",
    ),
    (
        "two methods",
        "post: /movements",
        "post: /movements\n          put: /movements",
    ),
    ("no method", "get: /me, query", "query"),
    (
        "a part without what is in it",
        "body: {id: event.id, qty: quantity}\n          part",
        "part",
    ),
    ("a part's name that is none", "part: file", "part: a file"),
    ("a path that is none", "post: /movements", "post: movements"),
    (
        "a path with an open bracket",
        "put: /stock/{found.result}/post",
        "put: /stock/{found.result/post",
    ),
    (
        "a path's name that is none",
        "/jobs/{ticket}",
        "/jobs/{job}",
    ),
    (
        "a body with GET",
        "get: /items\n",
        "get: /items\n          body: {a: 1}\n",
    ),
    (
        "find and send in one step",
        "- when: \"found.result is not null\"\n        send:",
        "- find: {}\n        send:",
    ),
    (
        "missing left open",
        "take: {qty: qty}, missing: missing",
        "take: {qty: qty}",
    ),
    (
        "a tombstone left open",
        "    delete: {steps: [{send: {delete: \"/stock/{sku}\", done: {status: [204, 404]}}}]}\n",
        "",
    ),
    (
        "a tombstone of a fact",
        "  inventory.movement.v1:\n",
        "  inventory.movement.v1:\n    delete: same\n",
    ),
    (
        "a conflict that begins nowhere",
        "from: item, tries",
        "from: items, tries",
    ),
    (
        "no way to read back",
        "    read:\n      steps:\n        - find: {name: movement, get: \"/movements/{event.id}\", take: {qty: qty}, missing: missing}\n      compare: {qty: {holds: found.qty, would: quantity}}\n",
        "",
    ),
    (
        "sending while reading",
        "- find: {name: movement, get: \"/movements/{event.id}\", take: {qty: qty}, missing: missing}",
        "- send: {get: /x, done: {status: 200}}",
    ),
    (
        "another server that no answer named",
        "get: \"{found.address}\"",
        "get: /r/{found.address}",
    ),
    (
        "another server that is no domain",
        "away: [example.net, files.example]",
        "away: [\"*.example.net\"]",
    ),
    (
        "a report before the last question",
        "done: address\n",
        "done: address\n                report: {list: issues, index: true}\n",
    ),
    (
        "a question's finding before it is asked",
        "/documents/{found.result}",
        "/documents/{found.address}",
    ),
    ("an anchor", "title: Whole", "title: &a Whole"),
    ("a key twice", "title: Whole", "title: Whole\ntitle: Other"),
    (
        "a header that is none",
        "headers: {x-app: setting.user}",
        "headers: {\"x app\": setting.user}",
    ),
];

/// A file with nothing but a way to log in.
pub(crate) fn with_auth(auth: &str) -> String {
    format!(
        "channel: least\ntitle: Least\nproven: documentation\nresend: safe\nsettings: {{key: {{type: secret, ask: which?}}}}\n\
         url: \"'https://shop.example'\"\nauth: {auth}\nevents: {{product.v1: {{steps: [{{send: {{post: /items, body: {{name: name}}, done: {{status: 204}}}}}}], delete: same}}}}\n"
    )
}

/// Every way to log in that the whole file does not use.
pub(crate) const AUTHS: &[&str] = &[
    "none",
    "{basic: {user: setting.key, password: setting.key}}",
    "{bearer: setting.key}",
    "{api_key: {header: X-Key, value: setting.key}}",
    "{api_key: {query: key, value: setting.key}}",
    "{login: {post: /login, form: {password: setting.key}, take: {token: session.id, user: user}, says: error, send: {x-token: token}}}",
    "{oauth2: {grant: client_credentials, token_url: \"'https://id.example/token'\", client_id: setting.key, client_secret: setting.key}}",
    "{oauth2: {grant: refresh_token, token_url: \"'https://id.example/token'\", client_id: setting.key, refresh_token: setting.key}}",
    "{oauth1: {consumer_key: setting.key, consumer_secret: setting.key, token: setting.key, token_secret: setting.key, realm: setting.key}}",
];
