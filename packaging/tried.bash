# Read by scripts that try a program, one thing after the other, and count.
passed=0 failed=0
ok() { # what, command...
  local said
  if said=$("${@:2}" 2>&1); then
    passed=$((passed + 1))
    echo "ok      $1"
  else
    failed=$((failed + 1))
    echo "FAILED  $1"
    printf '%s\n' "$said" | tail -n 20 | sed 's/^/        /'
  fi
}
# What a command prints holds no such pattern.
lacks() { # pattern, command...
  local found
  found=$("${@:2}") || return 1
  ! grep -E "$1" <<<"$found"
}
