# Sourced by the scripts of the peers. What a peer needs is put under $CACHE, once for all checkouts.
# shellcheck shell=bash disable=SC2034 # what is set here is used there
# shellcheck source=dev/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../dev/lib.sh"

# The peer whose script this is, and where what it needs is: another list of packages, or other code, has another place.
PEER=$(cd "$(dirname "$0")" && pwd)
PLACE=$CACHE/peer-$(basename "$PEER")-$(name_of "$(find "$PEER" \( -name pom.xml -o -name '*.java' -o -name requirements.txt \) | sort | xargs cat)")

# Runs a function that fills $PLACE, unless that was done.
install_once() {
  # In a shell of its own, so that the lock ends with it.
  (
    lock "$(directory "$CACHE")"
    if [ ! -e "$PLACE/.complete" ]; then
      say "fetching $(basename "$PEER"), once"
      rm -rf "$PLACE"
      mkdir "$PLACE"
      "$1" 9>&-
      touch "$PLACE/.complete"
    fi
  )
}

# The jars that pom.xml names, into $PLACE/lib.
fetch_jars() {
  mvn -B -q -f "$PEER/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$PLACE/lib" \
    >"$PLACE/log" 2>&1 || die "Maven could not fetch what $PEER/pom.xml names: $(tail -20 "$PLACE/log")"
}

# The jars, and what the Java files beside pom.xml compile to, in $PLACE/classes.
build_java() {
  fetch_jars
  javac -nowarn -cp "$PLACE/lib/*" -d "$PLACE/classes" "$PEER"/*.java >&2
}

# The packages that requirements.txt names, in an environment in $PLACE/venv.
build_python() {
  python3 -m venv "$PLACE/venv"
  "$PLACE/venv/bin/pip" install -q --disable-pip-version-check -r "$PEER/requirements.txt" >&2
}

installed() { [ -e "$PLACE/.complete" ] || die "run $PEER/install first"; }

# BENCH_DATABASE_URL as JDBC wants it, in JDBC_URL, JDBC_USER and JDBC_PASSWORD. A table without a schema is BENCH_SCHEMA's.
jdbc() {
  local url='^postgres(ql)?://([^:@/]+)(:([^@/]*))?@([^/?]+)/([^?]+)'
  [[ $BENCH_DATABASE_URL =~ $url ]] || die "this is no postgres://USER@HOST:PORT/DATABASE: $BENCH_DATABASE_URL"
  export JDBC_USER=${BASH_REMATCH[2]}
  # Where none is needed, some libraries want one.
  export JDBC_PASSWORD=${BASH_REMATCH[4]:-none}
  export JDBC_URL="jdbc:postgresql://${BASH_REMATCH[5]}/${BASH_REMATCH[6]}?currentSchema=$BENCH_SCHEMA"
}
