# Sourced by the scripts in this directory. State is under .dev/ in the checkout, downloads are under $CACHE outside it.
# shellcheck shell=bash disable=SC2034 # other scripts use these variables
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

# with_time WORK: copies its input line by line, and prints the elapsed time after each 4 seconds without a line.
with_time() {
  local line code
  # bash 3, as in macOS, cannot tell a timeout from the end of the input.
  [ "${BASH_VERSINFO[0]}" -ge 4 ] || exec cat
  while :; do
    code=0
    IFS= read -r -t 4 line || code=$?
    if [ $code = 0 ]; then
      printf '%s\n' "$line"
    elif [ $code -gt 128 ]; then
      printf '%s     still %s, %s s so far\n' "${line:+$line
}" "$1" "$SECONDS"
    else
      printf '%s' "$line"
      return
    fi
  done
}

# shellcheck source=dev/prerequisites.sh
. "$ROOT/dev/prerequisites.sh"

# The absolute path of a directory, which is created if missing.
directory() { mkdir -p "$1" && (cd "$1" && pwd -P); }

# lock DIR: holds the lock of DIR until the script ends. Two scripts never start or stop the same server at once.
lock() {
  if have flock; then
    exec 9>"$1/lock"
    flock -w 120 9 || die "another script has held $1/lock for two minutes: end it, then try again"
  fi
}

# keep MADE PLACE: moves a finished directory to PLACE, unless another script did so first.
keep() { if [ -e "$2" ]; then rm -rf "$1"; else mv "$1" "$2"; fi; }

# The packages that Go builds at once: a link of Kubernetes takes up to three gigabytes.
go_jobs() {
  local cores free
  cores=$(getconf _NPROCESSORS_ONLN)
  free=$(awk '/^MemAvailable:/ { print int($2 / 3000000) }' /proc/meminfo 2>/dev/null) || free=1
  echo $((free < 1 ? 1 : free < cores ? free : cores))
}

# go_cached PLACE COMMAND...: runs a go command that fills $NEW, unless PLACE exists.
go_cached() {
  local place=$1
  shift
  [ ! -e "$place" ] || return 0
  need_go "$(basename "$place")"
  say "building $(basename "$place"), once for all checkouts"
  NEW=$place.$$
  mkdir -p "$NEW"
  CGO_ENABLED=0 GOFLAGS="-p=$(go_jobs) -buildvcs=false" GOBIN=$NEW nice -n 10 "$@" >&2
  keep "$NEW" "$place"
}

# cargo_tool NAME VERSION: installs a cargo program once for all checkouts, and prints its directory.
cargo_tool() {
  local tools=$CACHE/$1-$2
  if [ ! -x "$tools/bin/$1" ]; then
    say "building $1 $2, once for all checkouts (minutes)"
    CARGO_TARGET_DIR=$CACHE/$1-build cargo install --locked --root "$tools" --version "$2" "$1" >&2
    rm -rf "$CACHE/$1-build"
  fi
  echo "$tools/bin"
}

# Installs the chart. dev/check-chart also tries Helm 4.
HELM3=v3.22.0

helm_cached() { go_cached "$CACHE/helm-$1" go install -trimpath -ldflags "-s -w" "helm.sh/helm/${1%%.*}/cmd/helm@$1"; }

# A short name for a directory, the same in every run.
name_of() { printf '%s' "$1" | cksum | cut -d' ' -f1; }

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port PREFERRED...: the first free loopback port of these, else a random one.
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

# server_port FILE WANTED [PREFERRED]: the port for a server that does not run: WANTED, else the one in FILE, else a free one. The
# port is written to FILE. A port on which another program listens is never used.
server_port() {
  local port=$2
  if [ -n "$port" ]; then
    ! listens "$port" || die "another program listens on port $port: end that program, or choose another port"
  else
    port=$(cat "$1" 2>/dev/null) || port=$(free_port "${@:3}")
    # The ports of a killed server accept connections until its last thread has ended, which takes seconds on a busy machine.
    if ! wait_for 5 not listens "$port"; then
      say "another program listens on port $port, which this server had: it gets another port"
      port=$(free_port)
    fi
  fi
  echo "$port" >"$1"
  echo "$port"
}

# running PIDFILE WORD: whether the process in PIDFILE runs and its command line contains WORD, so that it is the same one.
running() {
  local pid='' arguments
  { read -r pid <"$1"; } 2>/dev/null || true
  [ -n "$pid" ] || return 1
  if [ -r /proc/self/cmdline ]; then
    # Without another process: servers are polled often.
    { mapfile -d '' -t arguments <"/proc/$pid/cmdline"; } 2>/dev/null && [[ "${arguments[*]}" == *"$2"* ]]
  else
    ps -p "$pid" -o args= 2>/dev/null | grep -qF -- "$2"
  fi
}

# wait_for SECONDS COMMAND...: polls until COMMAND succeeds. Fails after SECONDS.
wait_for() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.05
  done
}

# run_for SECONDS COMMAND...: runs COMMAND and ends it by one SIGTERM, after SECONDS or when this script gets SIGINT or SIGTERM.
# Returns its exit code. In a session of its own, COMMAND does not also get the SIGINT that a terminal or a runner sends to all
# processes of the script: the second signal would end it without its last commit. Not by SIGINT, which programs that a script starts
# with & ignore until they handle it: a slow start would lose it.
run_for() {
  local seconds=$1 program stops='' code
  shift
  detached "$@" &
  program=$!
  # shellcheck disable=SC2329 # called by trap
  stop_once() { [ -n "$stops" ] || kill -TERM "$program" 2>/dev/null || true; stops=1; }
  # shellcheck disable=SC2329 # called by wait_for
  ended() { ! kill -0 "$program" 2>/dev/null; }
  trap stop_once INT TERM
  wait_for "$seconds" ended || stop_once
  # A signal would end the wait early.
  trap '' INT TERM
  code=0
  wait "$program" || code=$?
  trap - INT TERM
  return "$code"
}

# Runs a server in its own session, which a Ctrl-C at the terminal does not reach. Call it with &.
detached() { if have setsid; then exec setsid "$@"; else exec "$@"; fi; }

# Database servers refuse to run as root. Root starts them as the user postgres, or as an unprivileged one if that is missing.
AS_SERVER=()
if [ "$(id -u)" = 0 ]; then
  SERVER_USER=postgres
  id postgres >/dev/null 2>&1 || SERVER_USER=nobody
  AS_SERVER=(runuser -u "$SERVER_USER" --)
fi

# as_server COMMAND...: runs a command as the user of database servers, in a directory that this user can enter.
as_server() { (cd / && exec ${AS_SERVER[@]+"${AS_SERVER[@]}"} "$@"); }

# Creates the directory of a database server, and sets DATA: DIR/data, or a link to it if the server's user cannot enter DIR.
data_directory() {
  DATA=$DIR/data
  if ! as_server test -x "$DIR"; then
    DATA=/var/tmp/retail-pipeline-data-$(name_of "$DIR")
    ln -sfn "$DATA" "$DIR/data"
  fi
  mkdir -p "$DATA"
  chmod 700 "$DATA"
  own "$DATA"
}

# own FILE: makes the user of database servers the owner.
own() { if [ "$(id -u)" = 0 ]; then chown "$SERVER_USER" "$1"; fi; }

not() { ! "$@"; }

# programs [PROFILE]: the directory of the built programs, of the profile debug unless another is given.
programs() { echo "${CARGO_TARGET_DIR:-$ROOT/target}/${1:-debug}"; }

# cargo_build ARGUMENT...: cargo build with a visible sign of progress. On a terminal cargo draws its own progress bar. Elsewhere
# it prints one line for each crate, and this function prints the time when a crate takes longer.
cargo_build() {
  if [ -t 2 ]; then
    cargo build "$@"
  else
    cargo build "$@" 2>&1 | with_time building >&2
  fi
}
