# A Windows of its own for a test, for scripts that read this with `source`: LIGHTERMAN_EXE must name the program.
#
#   windows PROGRAM ARG..   runs a program in it
#   lighterman ARG..        runs ours
#   $work                   a folder of the test, which is its working folder
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${LIGHTERMAN_EXE:?names lighterman.exe; packaging/test-windows builds it}"
# Debian's own wrapper asks for the 32-bit half, which nobody needs here.
wine64=/usr/lib/wine/wine64
[ -x "$wine64" ] || wine64=$(command -v wine64)

work=$(mktemp -d)
export WINEPREFIX=$work/prefix WINEDEBUG=${WINEDEBUG:--all} WINEDLLOVERRIDES="mscoree=;mshtml="
unset DISPLAY
gone() {
  # Ends what runs in this Windows, and in no other.
  "${wine64%/*}/wineserver64" -k 2>/dev/null || wineserver -k 2>/dev/null || true
  rm -rf "$work"
}
trap gone EXIT

windows() { "$wine64" "$@"; }
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
windows wineboot -i >/dev/null 2>&1 </dev/null
system=$WINEPREFIX/drive_c/windows/system32
# Wine 8 has no source of random bytes as programs of today ask for it.
if [ ! -e "$system/bcryptprimitives.dll" ]; then
  x86_64-w64-mingw32-gcc -shared -O2 -o "$system/bcryptprimitives.dll" "$here/random.c" -ladvapi32
fi
cd "$work"
