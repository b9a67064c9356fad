# Sourced by the scripts beside it. State lives under .dev/ in the checkout, downloads under $CACHE outside it.
# shellcheck shell=bash disable=SC2034 # what is set here is used there
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${RETAIL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/retail-pipeline}

die() {
  printf '%s\n' "$*" >&2
  exit 1
}

say() { printf '%s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

docker_runs() { have docker && docker info >/dev/null 2>&1; }

# The absolute path of a directory, made if it is not there.
directory() { mkdir -p "$1" && (cd "$1" && pwd -P); }

# Holds the lock of DIR until the script ends: two of us never start or stop the same server at once.
lock() {
  if have flock; then
    exec 9>"$1/lock"
    flock -w 120 9 || die "another start or stop in $1 did not end within two minutes"
  fi
}

# keep MADE PLACE: moves a finished directory to its place, unless somebody else was first.
keep() { if [ -e "$2" ]; then rm -rf "$1"; else mv "$1" "$2"; fi; }

# go_cached PLACE COMMAND...: runs a go command that fills $NEW, unless PLACE is there. One package at a time: linking takes
# a gigabyte.
go_cached() {
  local place=$1
  shift
  [ ! -e "$place" ] || return 0
  have go || die "this needs Go, to build $(basename "$place") once"
  say "making $(basename "$place"), once"
  NEW=$place.$$
  mkdir -p "$NEW"
  CGO_ENABLED=0 GOFLAGS="-p=1 -buildvcs=false" GOBIN=$NEW nice -n 10 "$@" >&2
  keep "$NEW" "$place"
}

# The Helm that installs the chart. dev/check-chart tries Helm 4, too.
HELM3=v3.22.0

helm_cached() { go_cached "$CACHE/helm-$1" go install -trimpath -ldflags "-s -w" "helm.sh/helm/${1%%.*}/cmd/helm@$1"; }

# A short name for a directory, the same in every run.
name_of() { printf '%s' "$1" | cksum | cut -d' ' -f1; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A loopback port nobody listens on; the preferred ones first.
free_port() {
  local port
  for port in "$@"; do
    listens "$port" || { echo "$port" && return; }
  done
  while :; do
    port=$((20000 + RANDOM % 12000))
    listens "$port" || { echo "$port" && return; }
  done
}

# running PIDFILE WORD: whether the process of PIDFILE lives, and is the one we started: its command line has WORD.
running() {
  local pid
  pid=$(head -1 "$1" 2>/dev/null) && [ -n "$pid" ] && ps -p "$pid" -o args= 2>/dev/null | grep -qF -- "$2"
}

# wait_for SECONDS COMMAND...: polls until COMMAND succeeds; false when the time is over.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# Runs a server in a session of its own, where a Ctrl-C at the terminal does not reach it. To be used with &.
detached() { if have setsid; then exec setsid "$@"; else exec "$@"; fi; }

not() { ! "$@"; }

# Where cargo put the programs: those for looking and testing, or those of another profile.
programs() { echo "${CARGO_TARGET_DIR:-$ROOT/target}/${1:-debug}"; }
