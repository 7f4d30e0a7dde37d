"""What tests of an upgrade share: an ERP whose rows change, and a receiver that knows what must have come.

Every fact must come under one id, no version behind one that came before, and the newest state of every key in the end.
"""

import http.server
import json
import sqlite3
import threading

TABLES = """
PRAGMA journal_mode = WAL;
CREATE TABLE stock (item TEXT PRIMARY KEY, qty INTEGER);
CREATE TABLE moved (id INTEGER PRIMARY KEY, item TEXT, qty INTEGER);
"""
MAPPING = """
mapping: 1
pack: shop
pack_version: "1"
source: sqlite
company: ACME
tables:
  stock: {name: stock, key: [item]}
  moved: {name: moved, key: [id]}
events:
  - id: stock
    emit: inventory.availability.v1
    from: stock
    key: {sku: stock.item, location: "'MAIN'"}
    fields: {uom: "'EA'", on_hand: stock.qty, allocated: 0, active: true}
  - id: moved
    emit: inventory.movement.v1
    from: moved
    key: {movement_id: id}
    fields: {kind: "'adjustment'", sku: moved.item, location: "'MAIN'", uom: "'EA'", quantity: moved.qty}
"""


def settings(file, url, more=""):
    """Settings of an agent between the two."""
    return (
        f'{more}[[source]]\nname = "erp"\ntype = "sqlite"\nfile = "{file}"\nmappings = ["mapping.yaml"]\n'
        f'[[destination]]\nname = "shop"\ntype = "webhook"\nurl = "{url}"\nretry_first_ms = 50\nretry_max_seconds = 1\n'
        # Many keys end at once here, and nobody is there to say that it is meant.
        "guards = { mass_drop = false }\n"
    )


class Erp:
    """A database, and what must have been told of it."""

    def __init__(self, file):
        self.db = sqlite3.connect(file, isolation_level=None, timeout=30, check_same_thread=False)
        self.db.executescript(TABLES)
        self.wanted, self.facts, self.rounds = {}, set(), 0

    def changes(self):
        """Two hundred changes, in which keys come, change and go."""
        self.rounds += 1
        n = self.rounds
        for k in range(100):
            item = f"i{(n * 37 + k) % 150}"
            if (n + k) % 11 == 0:
                self.db.execute("DELETE FROM stock WHERE item = ?", [item])
                self.wanted.pop(item, None)
            else:
                self.db.execute(
                    "INSERT INTO stock VALUES (?, ?) ON CONFLICT (item) DO UPDATE SET qty = excluded.qty",
                    [item, n * 1000 + k],
                )
                self.wanted[item] = str(n * 1000 + k)
            fact = n * 1000 + k
            self.db.execute("INSERT INTO moved VALUES (?, ?, 1)", [fact, item])
            self.facts.add(f"ACME|{fact}")


class Changing:
    """While it lasts, the ERP's rows change: `with Changing(erp): ..`; a thousand rounds at most."""

    def __init__(self, erp):
        self.erp, self.over = erp, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        for _ in range(1000):
            self.erp.changes()
            if self.over.wait(0.2):
                return

    def __enter__(self):
        self.thread.start()

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class Receiver(http.server.ThreadingHTTPServer):
    """Takes events, or refuses all of them, and keeps what it saw."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock, self.refuses, self.refused = threading.Lock(), False, 0
        self.versions, self.states, self.facts, self.ids, self.wrong, self.repeated = {}, {}, {}, set(), [], 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"

    def take(self, event):
        data, key = event["data"], (event["type"], event["subject"])
        with self.lock:
            if event["id"] in self.ids:
                self.repeated += 1
                return
            self.ids.add(event["id"])
            if data.get("op") in ("fact", "correction"):
                self.facts.setdefault(event["subject"], []).append(event["id"])
                return
            version = data["version"]
            version = (int(version["epoch"]), version["pos"], int(version["seq"]))
            if key in self.versions and self.versions[key] >= version:
                self.wrong.append(f"{key}: {version} came after {self.versions[key]}")
            self.versions[key], self.states[key] = version, data.get("body")

    def told(self, erp):
        """Whether it has all facts of the ERP, no other, and the newest state of every key."""
        with self.lock:
            states = {key[1]: body for key, body in self.states.items() if body is not None}
            return set(self.facts) == erp.facts and {key: body["on_hand"] for key, body in states.items()} == {
                f"ACME|{item}|MAIN": qty for item, qty in erp.wanted.items()
            }

    def differs(self, erp):
        """What it lacks, in words."""
        with self.lock:
            lost, more = erp.facts - set(self.facts), set(self.facts) - erp.facts
            states = {key[1]: body["on_hand"] for key, body in self.states.items() if body is not None}
        wanted = {f"ACME|{item}|MAIN": qty for item, qty in erp.wanted.items()}
        other = sorted(set(wanted.items()) ^ set(states.items()))
        return f"facts lost: {sorted(lost)[:5]}, too many: {sorted(more)[:5]}; states that differ: {other[:6]}"

    def faults(self):
        """What came twice or in the wrong order; empty where all is right."""
        twice = [key for key, ids in self.facts.items() if len(ids) != 1]
        if self.wrong or twice or self.repeated:
            return f"wrong order: {self.wrong[:5]}, facts told twice: {twice[:5]}, sent again: {self.repeated}"
        return ""

    def sum(self):
        return f"{len(self.facts)} facts and {len(self.versions)} keys, nothing lost, nothing told twice"


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status = 503 if self.server.refuses else 200
        if status == 200:
            event = json.loads(body)
            for one in event if isinstance(event, list) else [event]:
                self.server.take(one)
        else:
            self.server.refused += 1
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass
