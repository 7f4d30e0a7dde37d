# A Windows of its own for a test, for scripts that read this with `source`: LIGHTERMAN_EXE must name the program.
#
#   windows PROGRAM ARG..   runs a program in it
#   lighterman ARG..        runs ours
#   $work                   a folder of the test, which is its working folder
set -euo pipefail
: "${LIGHTERMAN_EXE:?names lighterman.exe; packaging/test-windows builds it}"
. "$(dirname "${BASH_SOURCE[0]}")/prefix.bash"

gone() {
  windows_ends
  rm -rf "$work"
}
trap gone EXIT

windows() { "$wine" "$@"; }
lighterman() { windows "$work/lighterman.exe" "$@"; }
fails() { echo "wrong: $*" >&2; exit 1; }
# Runs a command that must end with a code, and keeps what it says in $said.
ends() {
  local code=$1 found=0
  shift
  said=$("$@" 2>&1 | tr -d '\r') || found=$?
  [ "$found" -eq "$code" ] || fails "\`$*\` ended with $found, not $code: $said"
}
says() { case $said in *"$1"*) ;; *) fails "\`$1\` is not said: $said" ;; esac; }
says_not() { case $said in *"$1"*) fails "\`$1\` is said: $said" ;; esac; }
# Waits for a condition, a minute at most.
wait_for() {
  local deadline=$((SECONDS + 60))
  until "$@"; do
    [ $SECONDS -lt $deadline ] || fails "did not come within a minute: $*"
    sleep 0.1
  done
}

cp "$LIGHTERMAN_EXE" "$work/lighterman.exe"
windows_boots
cd "$work"
