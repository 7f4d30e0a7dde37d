# A Windows of its own for a test, which Wine plays; read by wine.bash and service.bash. It needs Wine's 64-bit part and
# mingw (Debian: wine64, gcc-mingw-w64-x86-64), and python3; without them the test is skipped by name.
#
#   $wine           runs a program in it
#   $work           a folder of the test
#   $c, $system     its drive C and its system folder, once it is there
#   windows_boots   makes it; fails where Wine does
#   windows_ends    ends what runs in it, and in no other

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Debian's own wrapper asks for the 32-bit half, which nobody needs here.
wine=/usr/lib/wine/wine64
[ -x "$wine" ] || wine=$(command -v wine64) || wine=
wineserver=$(command -v "${wine%/*}/wineserver64" || command -v wineserver) || wineserver=
[ -n "$wine" ] && [ -n "$wineserver" ] || { echo "SKIPPED: Wine is missing (apt-get install wine wine64)"; exit 77; }
for part in x86_64-w64-mingw32-gcc python3 curl script; do
  command -v "$part" >/dev/null || { echo "SKIPPED: $part is missing"; exit 77; }
done

work=$(mktemp -d)
export WINEPREFIX=$work/prefix WINEDEBUG=${WINEDEBUG:--all} WINEDLLOVERRIDES="mscoree=;mshtml="
unset DISPLAY
c=$WINEPREFIX/drive_c
system=$c/windows/system32

windows_ends() { "$wineserver" -k 2>/dev/null || true; }
windows_boots() {
  timeout 120 "$wine" wineboot -i </dev/null >/dev/null 2>&1 || { echo "wineboot failed"; return 1; }
  # Else the service manager of the first boot may live on beside the next one.
  "$wineserver" -k -w 2>/dev/null || true
  # Wine 8 has no source of random bytes as programs of today ask for it. Never shipped.
  [ -e "$system/bcryptprimitives.dll" ] \
    || x86_64-w64-mingw32-gcc -shared -O2 -o "$system/bcryptprimitives.dll" "$here/random.c" -ladvapi32
}
