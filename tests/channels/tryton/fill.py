# Makes erp.sqlite in the folder it is started in, by Tryton's own programs and RPC: a company that
# counts in US dollars, one warehouse, the goods P-001 to P-100 at 10, and a customer C-1. The
# administrator is admin with the password admin.
import base64
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request

PRODUCTS = 100
MODULES = "product stock sale stock_lot user_role company account account_product".split()
START_SECONDS = 120

programs = os.path.dirname(sys.executable)
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
os.environ.update(
    TRYTOND_DATABASE__PATH=os.getcwd(),  # a relative one would be taken from the root
    TRYTOND_WEB__LISTEN=f"127.0.0.1:{port}",
    TRYTONPASSFILE="password",
)
session = None
context = {}


def rpc(method, *params, at="/erp/rpc/"):
    headers = {"content-type": "application/json"}
    if session:
        secret = f"admin:{session[0]}:{session[1]}".encode()
        headers["authorization"] = "Session " + base64.b64encode(secret).decode()
    body = json.dumps({"id": 1, "method": method, "params": params}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{at}", body, headers)
    with urllib.request.urlopen(request) as response:
        answer = json.load(response)
    if "error" in answer:
        sys.exit(f"{method}: {answer['error']}")
    return answer["result"]


def model(name, method, *params):
    return rpc(f"model.{name}.{method}", *params, context)


def decimal(text):
    return {"__class__": "Decimal", "decimal": text}


def fill():
    global session, context
    session = rpc("common.db.login", "admin", {"password": "admin"}, "en")
    date = {"__class__": "date", "year": 2020, "month": 1, "day": 1}
    [currency] = model("currency.currency", "create", [{
        "name": "US Dollar", "code": "USD", "symbol": "$",
        "rates": [["create", [{"date": date, "rate": decimal("1")}]]],
    }])
    [party] = model("party.party", "create", [{"name": "ACME"}])
    [company] = model("company.company", "create", [{"party": party, "currency": currency}])
    model("res.user", "write", [session[0]], {"companies": [["add", [company]]], "company": company})
    context = {"company": company}

    [unit] = model("product.uom", "search", [["symbol", "=", "u"]], 0, 1, None)
    codes = [f"P-{number:03}" for number in range(1, PRODUCTS + 1)]
    # With a hundred at once SQLite refuses what Tryton asks: "parser stack overflow".
    for some in (codes[at:at + 20] for at in range(0, PRODUCTS, 20)):
        model("product.template", "create", [{
            "name": f"Product {code}", "type": "goods", "default_uom": unit,
            "list_price": decimal("10"), "cost_price_method": "fixed",
            "salable": True, "sale_uom": unit,
            "products": [["create", [{"suffix_code": code}]]],
        } for code in some])
    model("party.party", "create", [{
        "name": "Customer", "code": "C-1", "addresses": [["create", [{"street": "1 Street"}]]],
    }])


with open("password", "w") as file:
    file.write("admin\n")
open("erp.sqlite", "w").close()
subprocess.run([
    f"{programs}/trytond-admin", "-d", "erp", "--all", "--email", "admin@example.com",
    "-u", *MODULES, "--activate-dependencies",
], check=True)
server = subprocess.Popen([f"{programs}/trytond", "-d", "erp"])
try:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            rpc("common.server.version", at="/rpc/")
            break
        except urllib.error.URLError:
            if time.monotonic() > deadline or server.poll() is not None:
                raise
            time.sleep(0.2)
    fill()
finally:
    server.terminate()
    server.wait()
# What was written last stands beside the database until it is called in.
database = sqlite3.connect("erp.sqlite")
if database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] != 0:
    sys.exit("the database is still in use")
database.close()
