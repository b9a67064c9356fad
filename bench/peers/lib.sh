# Sourced by the scripts of the compared systems. Each system is installed under $CACHE, once for all checkouts.
# shellcheck shell=bash disable=SC2034 # other scripts use these variables
# shellcheck source=dev/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../../dev/lib.sh"

# PEER is the directory of the calling script, PLACE its installation. The name of PLACE changes with the packages and the code.
PEER=$(cd "$(dirname "$0")" && pwd)
PLACE=$CACHE/peer-$(basename "$PEER")-$(name_of "$(find "$PEER" \( -name pom.xml -o -name '*.java' -o -name requirements.txt \) | sort | xargs cat)")

# install_once FUNCTION: runs FUNCTION, which fills $PLACE, unless $PLACE is complete.
install_once() {
  # The lock ends with this subshell.
  (
    lock "$(directory "$CACHE")"
    if [ ! -e "$PLACE/.complete" ]; then
      say "installing $(basename "$PEER"), once for all checkouts"
      rm -rf "$PLACE"
      mkdir "$PLACE"
      "$1" 9>&-
      touch "$PLACE/.complete"
    fi
  )
}

# Downloads the jars of pom.xml to $PLACE/lib.
fetch_jars() {
  need java17 mvn
  mvn -B -q -f "$PEER/pom.xml" dependency:copy-dependencies -DincludeScope=runtime "-DoutputDirectory=$PLACE/lib" \
    >"$PLACE/log" 2>&1 || die "Maven could not download the jars of $PEER/pom.xml: $(tail -20 "$PLACE/log")"
}

# Downloads the jars, and compiles the Java files next to pom.xml to $PLACE/classes.
build_java() {
  need javac17
  fetch_jars
  javac -nowarn -cp "$PLACE/lib/*" -d "$PLACE/classes" "$PEER"/*.java >&2
}

# Installs the packages of requirements.txt in an environment in $PLACE/venv.
build_python() {
  need python3-venv
  python3 -m venv "$PLACE/venv"
  "$PLACE/venv/bin/pip" install -q --disable-pip-version-check -r "$PEER/requirements.txt" >&2
}

installed() { [ -e "$PLACE/.complete" ] || die "run $PEER/install first"; }

# Converts BENCH_DATABASE_URL to JDBC_URL, JDBC_USER and JDBC_PASSWORD. The default schema is BENCH_SCHEMA.
jdbc() {
  local url='^postgres(ql)?://([^:@/]+)(:([^@/]*))?@([^/?]+)/([^?]+)'
  [[ $BENCH_DATABASE_URL =~ $url ]] || die "BENCH_DATABASE_URL=$BENCH_DATABASE_URL: expected postgres://USER@HOST:PORT/DATABASE"
  export JDBC_USER=${BASH_REMATCH[2]}
  # Some libraries require a password even if the server does not.
  export JDBC_PASSWORD=${BASH_REMATCH[4]:-none}
  export JDBC_URL="jdbc:postgresql://${BASH_REMATCH[5]}/${BASH_REMATCH[6]}?currentSchema=$BENCH_SCHEMA"
}
