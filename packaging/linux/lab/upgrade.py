"""Walks an upgrade from package to package under a real systemd, with a backlog on both sides, and the way back.

Called by lab/upgrade within the lab's network: upgrade.py PID-OF-ITS-SYSTEMD OLD.deb NEW.deb PACKAGES. The
last is the folder that the lab sees as /packages; the others lie in it, and the ERP's database will.
Ends at the first thing that is not so.
"""

import json
import os
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
import oracle

LIMIT_SECONDS = 60
STATE = "/var/lib/lighterman/lighterman.db"
FIRST, OLD, NEW, PACKAGES = sys.argv[1:]
ROOT = f"/proc/{FIRST}/root"


class Failed(Exception):
    """What was found, in words."""


def inside(script):
    """A command in the lab: its exit code, and what it says."""
    done = subprocess.run(
        ["nsenter", "-t", FIRST, "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "/bin/bash", "-c", script],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )
    return done.returncode, done.stdout


def does(what, script, says="", code=0):
    """A command must end so, and say that."""
    ended, said = inside(script)
    if ended != code:
        raise Failed(f"{what}: ended with {ended}, not {code}: {said}")
    if says not in said:
        raise Failed(f"{what}: does not say {says!r}: {said}")
    print(f"ok      {what}", flush=True)
    return said


def until(what, done, why=lambda: ""):
    late = time.monotonic() + LIMIT_SECONDS
    while not done():
        if time.monotonic() > late:
            raise Failed(f"{what}: not within {LIMIT_SECONDS} s: {why()}")
        time.sleep(0.1)
    print(f"ok      {what}", flush=True)


def active():
    return inside("systemctl is-active lighterman")[1].strip() == "active"


def format_of(file=STATE):
    """The state file's format, as the program that is installed says it."""
    named = "" if file == STATE else f"--file {file}"
    _, said = inside(f"cd /etc/lighterman && lighterman state verify --json {named}")
    try:
        return json.loads(said)["format"]
    except (ValueError, LookupError) as error:
        raise Failed(f"no format of {file}: {said}") from error


def backlog():
    _, said = inside("cd /etc/lighterman && lighterman status --json 2>/dev/null")
    try:
        return json.loads(said)["destinations"][0]["backlog"] >= 100
    except (ValueError, LookupError):
        return False


def journal(pattern):
    return inside(f"journalctl -u lighterman -o cat --no-pager | grep -qF '{pattern}'")[0] == 0


def set_up(receiver):
    """A warehouse in SQLite, and the settings of an agent that tells the receiver of it."""
    does("a warehouse", "mkdir -p /packages/erp && chown lighterman:lighterman /packages/erp")
    erp = oracle.Erp(f"{PACKAGES}/erp/erp.db")
    does("it may be written by the service", "chown lighterman:lighterman /packages/erp/*")
    with open(f"{ROOT}/etc/lighterman/lighterman.toml", "w", encoding="utf-8") as file:
        file.write(oracle.settings("/packages/erp/erp.db", receiver.url, 'state_folder = "/var/lib/lighterman"\n'))
    with open(f"{ROOT}/etc/lighterman/mapping.yaml", "w", encoding="utf-8") as file:
        file.write(oracle.MAPPING)
    does(
        "settings that the service may read",
        """set -e
        chown root:lighterman /etc/lighterman/*.toml /etc/lighterman/*.yaml; chmod 640 /etc/lighterman/*.toml /etc/lighterman/*.yaml
        mkdir -p /etc/systemd/system/lighterman.service.d
        printf '[Service]\\nReadWritePaths=/packages/erp\\nRestartSec=1s\\n' >/etc/systemd/system/lighterman.service.d/erp.conf
        systemctl daemon-reload
        cd /etc/lighterman && lighterman source prepare --apply""",
    )
    return erp


def walk():
    receiver = oracle.Receiver()

    def told():
        return receiver.told(erp)

    def why():
        return receiver.differs(erp)

    does("the older package installs", f"dpkg -i /packages/{OLD}")
    erp = set_up(receiver)
    erp.changes()
    does("and runs", "systemctl start lighterman")
    until("the older version tells everything", told, why)
    before = format_of()
    receiver.refuses = True
    erp.changes()
    until("the older version has a backlog", backlog)

    does("the newer one is looked into", f"rm -rf /tmp/newer && dpkg-deb -x /packages/{NEW} /tmp/newer")
    plan = "/tmp/newer/usr/bin/lighterman upgrade --plan --config /etc/lighterman/lighterman.toml"
    says = "Nothing was touched"
    does("the newer version shows a plan beside the agent that runs", plan, says)
    does("a backup is made by hand", "cd /etc/lighterman && lighterman state backup --to /var/lib/lighterman/backups/by-hand.db")
    delivered = len(receiver.ids)
    with oracle.Changing(erp):
        does("the newer package is installed while rows change", f"dpkg -i /packages/{NEW}")
        until("the newer version runs", active)
    if len(receiver.ids) != delivered:
        raise Failed("something was told while the receiver took nothing")
    after = format_of()
    if after != before:
        kept = does(
            f"the state was brought from format {before} to {after}, with a copy before, which is the agent's",
            "stat -c '%U %n' /var/lib/lighterman/backups/before-*",
            "lighterman /var/lib/lighterman/backups/before-",
        )
        copy = kept.split()[-1]
        if format_of(copy) != before:
            raise Failed(f"the copy {copy} is not of format {before}")
        does("the copy is whole", f"cd /etc/lighterman && lighterman state verify --file {copy}")
    else:
        print(f"SKIPPED: both versions write format {after}, so nothing is migrated")
    until("the newer version has the backlog", backlog)
    receiver.refuses = False
    until("the newer version tells the backlog and what came meanwhile", told, why)
    does("its state file is right", "cd /etc/lighterman && lighterman state verify")

    receiver.refuses = True
    erp.changes()
    until("the newer version has a backlog", backlog)
    does("rollback beside a running agent is refused", "cd /etc/lighterman && lighterman rollback", "stop it first", code=3)
    does("the service stops", "systemctl stop lighterman")
    erp.changes()
    if after != before:
        does("the older package, installed over the newer state,", f"dpkg -i /packages/{OLD}")
        inside("systemctl start lighterman")
        refusal = f"it has format {after}, this agent knows up to {before}"
        until("refuses it, and says so", lambda: journal(refusal), lambda: inside("journalctl -u lighterman -n 20 -o cat")[1])
        does("and does not touch it", f"systemctl stop lighterman; systemctl reset-failed lighterman; dpkg -i /packages/{NEW}")
        if format_of() != after:
            raise Failed("the state file is another")
    named = "" if after != before else "--backup /var/lib/lighterman/backups/by-hand.db"
    does("rollback shows what it comes to", f"cd /etc/lighterman && lighterman rollback --plan {named}", says)
    does("rollback", f"cd /etc/lighterman && lighterman rollback {named}", "The state went back")
    does("the state is the agent's still", f"stat -c %U {STATE}", "lighterman")
    does("the older package comes back", f"dpkg -i /packages/{OLD}")
    if format_of() != before:
        raise Failed(f"the state file is not of format {before}")
    does("and runs", "systemctl start lighterman")
    erp.changes()
    receiver.refuses = False
    until("the older version tells the backlog and what came meanwhile", told, why)

    receiver.refuses = True
    erp.changes()
    until("it has a backlog once more", backlog)
    does("the newer package, once more", f"dpkg -i /packages/{NEW}")
    until("runs", active)
    receiver.refuses = False
    until("and tells it", told, why)
    does("the service stops at the end", "systemctl stop lighterman")
    if receiver.faults():
        raise Failed(receiver.faults())
    until(receiver.sum(), told, why)
    does("purges", "dpkg -P lighterman")
    does(
        "nothing is left",
        "! ls -d /etc/lighterman /etc/default/lighterman /var/lib/lighterman /var/log/lighterman "
        "/etc/systemd/system/lighterman* 2>/dev/null && ! getent passwd lighterman",
    )


try:
    walk()
    print("walked to its end")
except (Failed, subprocess.TimeoutExpired) as found:
    print(f"FAILED  {found}")
    for line in inside("journalctl -u lighterman -n 15 --no-pager -o cat")[1].splitlines():
        print(f"        journal: {line}")
    sys.exit(1)
