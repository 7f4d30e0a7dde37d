# Read by test-service and test-msi: a Windows of their own, which Wine plays, and a receiver for its events.
. "$(dirname "${BASH_SOURCE[0]}")/prefix.bash"
ours=()
failed=0
over() {
    windows_ends
    for pid in "${ours[@]}"; do kill "$pid" 2>/dev/null; done
    if [ $failed = 0 ] && [ -z "${KEEP-}" ]; then rm -rf "$work"; else echo "what is left of it: $work"; fi
}
trap over EXIT

# Says what is looked at, and ends at the first thing that is not so.
step() { echo "-- $*"; }
fail() {
    failed=1
    echo "FAILED: $*"
    [ ! -f "$work/said" ] || sed 's/^/    /' "$work/said"
    exit 1
}
# Waits until a command succeeds.
wait_for() {
    local what=$1 end=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || fail "$what: not within 60 s"
        sleep 0.2
    done
}
# Runs a program of Windows; what it says is in $work/said, and its exit code is compared.
runs() {
    local want=$1 code=0
    shift
    timeout 120 "$wine" "$@" </dev/null >"$work/said" 2>&1 || code=$?
    [ "$code" = "$want" ] || fail "exit code $code, not $want: $*"
}
says() { grep -qF -- "$1" "$work/said" || fail "it does not say: $1"; }

boots() {
    windows_boots >"$work/said" 2>&1 || fail "a Windows"
    # Wine ends services soon after its last program: one that waits, on a pipe, holds it.
    tail -f /dev/null --pid=$$ | "$wine" cmd >/dev/null 2>&1 &
    ours+=($!)
}

# An ERP's database with one table.
erp() {
    mkdir -p "$c/erp"
    python3 - "$c/erp/warehouse.db" <<'PY'
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.executescript("""
CREATE TABLE stock (sku TEXT, warehouse TEXT, on_hand NUMERIC NOT NULL, allocated NUMERIC, PRIMARY KEY (sku, warehouse));
INSERT INTO stock VALUES ('BOLT-M8', 'MAIN', 480, 25);
""")
PY
}
sells() {
    python3 -c '
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30)
db.execute("UPDATE stock SET on_hand = ?", (sys.argv[2],))
db.commit()' "$c/erp/warehouse.db" "$1"
}

# A receiver of events; what comes is a line each in $work/got, its address in $url.
receives() {
    python3 -c '
import http.server, sys
got = open(sys.argv[1], "a", buffering=1)
class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        got.write(self.rfile.read(int(self.headers["Content-Length"])).decode() + "\n")
        self.send_response(204)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_port, file=open(sys.argv[2], "w"), flush=True)
server.serve_forever()' "$work/got" "$work/port" &
    ours+=($!)
    wait_for "the receiver" test -s "$work/port"
    url=http://127.0.0.1:$(cat "$work/port")/
}
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
told() { grep -qF "\"on_hand\":\"$1\"" "$work/got"; }
alive() { curl -fsS --max-time 2 "http://127.0.0.1:$listen/health/live"; }

# Settings for both, written by init: sets_up PROGRAM FOLDER (as Windows names them) FOLDER (as Linux does).
sets_up() {
    mkdir -p "$3/secrets"
    echo whsec_dGhpcyBpcyBhIHNlY3JldCBvZiAzMiBieXRlcy4u >"$3/secrets/shop"
    runs 0 "$1" init --non-interactive --folder "$2" --tenant acme --source sqlite \
        --source-set 'file=C:\erp\warehouse.db' --destination webhook --destination-set "url=$url" \
        --destination-set secret=file:secrets/shop
    listen=$(free_port)
    sed -i "s/^listen = .*/listen = \"127.0.0.1:$listen\"/" "$3/lighterman.toml"
}
# A value of the registry.
registry() {
    runs 0 reg query "$1" /v "$2"
    tr -d '\r' <"$work/said" | sed -n "s/^ *$2 *REG_[A-Z_]* *//p"
}
