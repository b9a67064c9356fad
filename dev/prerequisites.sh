# Sourced by lib.sh: installs the tools that a script needs with the system's package manager.
#
#   need cc mvn ...     installs the missing ones as root, or with sudo; otherwise prints the command to run and fails
#
# No other script installs system packages. To add a tool, add a row to PACKAGES, and a case to `has` if finding the
# command on the PATH is not the right test.
# shellcheck shell=bash disable=SC2034 # other scripts use these variables

# Name, then the packages for apt-get, dnf and Homebrew. Commas separate packages, `A|B` is the first one available, and
# `-` means that the package manager has no suitable package.
PACKAGES='
aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu,libc6-dev-arm64-cross            gcc-aarch64-linux-gnu                             -
buildah               buildah                                                buildah                                           -
c++                   g++                                                    gcc-c++                                           -
cc                    gcc,libc6-dev                                          gcc                                               -
chromium              chromium,chromium-driver                               chromium,chromedriver                             -
cni-plugins           containernetworking-plugins                            containernetworking-plugins                       -
containerd            containerd                                             containerd                                        -
curl                  curl                                                   curl                                              curl
ip                    iproute2                                               iproute                                           -
java17                openjdk-17-jre-headless|openjdk-21-jre-headless        java-17-openjdk-headless|java-21-openjdk-headless openjdk@21
java21                openjdk-21-jre-headless|openjdk-25-jre-headless                java-21-openjdk-headless|java-25-openjdk-headless openjdk@21
javac17               openjdk-17-jdk-headless|openjdk-21-jdk-headless        java-17-openjdk-devel|java-21-openjdk-devel       openjdk@21
mmdebstrap            mmdebstrap                                             mmdebstrap                                        -
mvn                   maven                                                  maven                                             maven
nft                   nftables                                               nftables                                          -
openssl               openssl                                                openssl                                           openssl@3
openssl-headers       libssl-dev                                             openssl-devel                                     openssl@3
pgbouncer             pgbouncer                                              pgbouncer                                         pgbouncer
pkg-config            pkg-config                                             pkgconf-pkg-config                                pkgconf
postgres-server       postgresql                                             postgresql-server                                 postgresql@17
ps                    procps                                                 procps-ng                                         -
python3               python3                                                python3                                           python@3.13
python3-venv          python3-venv                                           python3                                           python@3.13
qemu-aarch64          qemu-user                                              qemu-user                                         -
readelf               binutils                                               binutils                                          binutils
runc                  runc                                                   runc                                              -
valgrind              valgrind                                               valgrind                                          -
'

# Homebrew does not link these into the PATH.
for keg in openjdk@21 postgresql@17; do
  for prefix in /opt/homebrew /usr/local; do
    [ ! -d "$prefix/opt/$keg/bin" ] || PATH=$prefix/opt/$keg/bin:$PATH
  done
done
unset keg prefix

# The major version that a Java program prints.
java_version() { "$1" -version 2>&1 | sed -nE 's/^(openjdk version |java version |javac )"?([0-9]+).*/\2/p' | head -1; }

# The directory of initdb and postgres: from the PATH, or the newest of the versions that packages install side by side.
postgres_directory() {
  local initdb candidate
  if initdb=$(command -v initdb); then
    initdb=$(readlink -f "$initdb")
  else
    initdb=$(for candidate in /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb; do
      [ ! -x "$candidate" ] || echo "$candidate"
    done | sort -V | tail -1)
  fi
  [ -n "$initdb" ] && dirname "$initdb"
}

openssl_headers() {
  [ -z "${OPENSSL_DIR:-}" ] || return 0
  have pkg-config && pkg-config --exists openssl && return
  # The build script of openssl-sys looks in these places, too.
  [ -d /opt/homebrew/opt/openssl@3/include ] || [ -d /usr/local/opt/openssl@3/include ]
}

# has NAME: whether the tool is installed.
has() {
  case $1 in
    chromium) have chromium && have chromedriver ;;
    cni-plugins) [ -x /usr/lib/cni/bridge ] || [ -x /usr/libexec/cni/bridge ] ;;
    containerd) have containerd && have ctr ;;
    java17 | java21 | javac17)
      local program=${1%[0-9][0-9]} version
      have "$program" && version=$(java_version "$program") && [ "${version:-0}" -ge "${1#"$program"}" ]
      ;;
    openssl-headers) openssl_headers ;;
    # Debian has it in a directory that is not on an ordinary user's PATH.
    pgbouncer) have pgbouncer || [ -x /usr/sbin/pgbouncer ] ;;
    postgres-server) [ -n "$(postgres_directory)" ] ;;
    # Debian's python3 has the module venv without ensurepip, which venv needs.
    python3-venv) python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ;;
    *) have "$1" ;;
  esac
}

package_manager() {
  local manager
  for manager in apt-get dnf brew; do
    have "$manager" && echo "$manager" && return
  done
  return 1
}

# Sets AS_ROOT to the prefix that runs a command as root. Fails if the user cannot become root. sudo may ask for a
# password only on a terminal.
become_root() {
  AS_ROOT=()
  [ "$(id -u)" != 0 ] || return 0
  have sudo || return 1
  if { [ -t 0 ] && [ -t 2 ]; } || sudo -n true 2>/dev/null; then AS_ROOT=(sudo); else return 1; fi
}

# Whether `need` can install packages here.
can_install() {
  local manager
  manager=$(package_manager) && { [ "$manager" = brew ] || become_root; }
}

as_root() { ${AS_ROOT[@]+"${AS_ROOT[@]}"} "$@"; }

known() {
  case $1 in
    apt-get) apt-cache show "$2" >/dev/null 2>&1 ;;
    dnf) dnf -q info "$2" >/dev/null 2>&1 ;;
    brew) true ;;
  esac
}

# packages_for MANAGER NAME: one package a line.
packages_for() {
  local column entry choice
  case $1 in apt-get) column=2 ;; dnf) column=3 ;; brew) column=4 ;; esac
  entry=$(awk -v name="$2" -v column="$column" '$1 == name { print $column }' <<<"$PACKAGES")
  [ "${entry:--}" != - ] || return 0
  choice=$entry
  # Asking a package manager takes a second.
  if [[ $entry == *"|"* ]]; then
    for choice in ${entry//|/ } "${entry%%|*}"; do
      ! known "$1" "${choice%%,*}" || break
    done
  fi
  printf '%s\n' "${choice//,/ }" | tr ' ' '\n'
}

# has_package NAME: whether `need` can install the tool here. Asks the package manager.
has_package() {
  local manager package
  can_install && manager=$(package_manager) || return 1
  for package in $(packages_for "$manager" "$1"); do
    known "$manager" "$package" || return 1
  done
}

# Debian's package would create and start a database cluster of its own. Only its programs are needed.
no_debian_cluster() {
  [ ! -e /etc/postgresql-common/createcluster.conf ] || return 0
  as_root mkdir -p /etc/postgresql-common
  echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
}

# Debian's package would start a service on the pooler's usual port. Only its program is needed. Sets NO_SERVICES to the file
# that forbids starting services, if it did not exist.
no_debian_service() {
  NO_SERVICES=
  [ ! -e /usr/sbin/policy-rc.d ] || return 0
  NO_SERVICES=/usr/sbin/policy-rc.d
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$NO_SERVICES" >/dev/null
  as_root chmod 755 "$NO_SERVICES"
}

# install_command MANAGER PACKAGE...: sets INSTALL, as you would type it.
install_command() {
  case $1 in
    apt-get) INSTALL=(apt-get install -y --no-install-recommends "${@:2}") ;;
    dnf) INSTALL=(dnf install -y "${@:2}") ;;
    brew) INSTALL=(brew install "${@:2}") ;;
  esac
}

# Runs INSTALL of MANAGER.
run_install() {
  local code=0
  case $1 in
    apt-get)
      case " ${INSTALL[*]} " in *" postgresql "*) no_debian_cluster ;; esac
      # Java's package fails in minimal images, which lack this directory.
      as_root mkdir -p /usr/share/man/man1
      case " ${INSTALL[*]} " in *" pgbouncer "*) no_debian_service ;; *) NO_SERVICES= ;; esac
      as_root env DEBIAN_FRONTEND=noninteractive "${INSTALL[@]}" -q -o DPkg::Lock::Timeout=300 || code=$?
      [ -z "$NO_SERVICES" ] || as_root rm "$NO_SERVICES"
      return "$code"
      ;;
    dnf) as_root "${INSTALL[@]}" ;;
    brew) "${INSTALL[@]}" ;;
  esac
}

need() {
  local manager name package before missing=() packages=() unknown=()
  for name; do has "$name" || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  # Two scripts that run at once may need the same packages, and apt-get update waits for no other.
  if have flock && [ -z "${INSTALLING:-}" ]; then
    mkdir -p "$CACHE"
    (
      flock 7
      INSTALLING=1 need "${missing[@]}"
    ) 7>"$CACHE/packages.lock" || exit
    hash -r
    return
  fi
  manager=$(package_manager) || die "missing: ${missing[*]}. There is no apt-get, dnf or Homebrew here: install them, then run this again"
  if can_install; then
    say "installing with $manager: ${missing[*]}"
    [ "$manager" != apt-get ] || as_root apt-get update -q 2>&1 | with_time updating >&2 || die "apt-get update failed: see above"
  fi

  for name in "${missing[@]}"; do
    before=${#packages[@]}
    while read -r package; do packages+=("$package"); done < <(packages_for "$manager" "$name")
    [ ${#packages[@]} -gt "$before" ] || unknown+=("$name")
  done
  if [ ${#unknown[@]} -gt 0 ]; then
    [ "$(uname)" != Darwin ] || say "for a compiler, run: xcode-select --install"
    die "missing: ${unknown[*]}. $manager has no package for it: install it, then run this again"
  fi
  install_command "$manager" "${packages[@]}"
  can_install || die "missing: ${missing[*]}. Run this, then try again:
  sudo ${INSTALL[*]}"
  run_install "$manager" 2>&1 | with_time installing >&2 || die "$manager could not install ${packages[*]}: see above"
  hash -r
  for name in "${missing[@]}"; do
    has "$name" || die "$manager installed ${packages[*]}, but $name is still not found: check your PATH"
  done
}

# need_build [NAME...]: everything that `cargo build` needs, and these tools. Rust itself comes from rustup, at the version of
# rust-toolchain.toml.
need_build() {
  have cargo || die "missing: Rust. Install it from https://rustup.rs, then run this again"
  need cc c++ pkg-config openssl-headers "$@"
}

# Prints the tools that dev/kafka and dev/postgres need. Without Java or PostgreSQL they use Docker where it runs, and without
# root dev/postgres uses a package from PyPI.
server_tools() {
  echo ps
  docker_runs || printf '%s\n' java17 mvn
  docker_runs || ! can_install || echo postgres-server
}

# Go programs are built from source; distributions have versions that are too old for them.
need_go() { have go || die "missing: Go, to build $1. Install it from https://go.dev/dl, then run this again"; }
