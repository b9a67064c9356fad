# Sourced, after lib.sh, by what builds images: which tool does, and the images to start from where no registry is reached.
# shellcheck shell=bash disable=SC2034 # what is set here is used there

# Sets TOOL: what CONTAINER_TOOL says, else the first that works; where there is none, Debian's buildah is installed.
find_tool() {
  TOOL=${CONTAINER_TOOL:-}
  if [ -z "$TOOL" ]; then
    if docker_runs; then
      TOOL=docker
    elif have podman; then
      TOOL=podman
    else
      TOOL=buildah
    fi
  fi
  case $TOOL in
    docker | podman) have "$TOOL" || die "CONTAINER_TOOL is $TOOL, and there is no $TOOL" ;;
    buildah) have buildah || install buildah ;;
    *) die "CONTAINER_TOOL is docker, podman or buildah, not $TOOL" ;;
  esac
}

# install PACKAGE...: with apt-get as root; else says what to install.
install() {
  { [ "$(id -u)" = 0 ] && have apt-get; } || die "install first: $*, or a running Docker"
  say "installing $*"
  apt-get update -qq >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# buildah, with its images outside the checkout and apart from any others.
local_buildah() { buildah --root "$CACHE/containers" --runroot "$CACHE/containers-run" "$@"; }

# build_with OPTION...: a build by buildah or podman. In the OCI format: the other one has the names of the build's containers in it.
build_with() {
  case $TOOL in
    buildah) local_buildah build --isolation chroot --format oci "$@" ;;
    podman) podman build --format oci "$@" ;;
  esac
}

# save_image NAME FILE: as a docker archive.
save_image() {
  rm -f "$2"
  case $TOOL in
    buildah) local_buildah push -q "$1" "docker-archive:$2:$1" >&2 ;;
    podman) podman save -q --format docker-archive -o "$2" "$1" ;;
    docker) docker save -o "$2" "$1" ;;
  esac
}

# local_debian PACKAGE...: sets DEBIAN to the name of an image of Debian bookworm with these packages.
local_debian() {
  DEBIAN=localhost/debian-$(name_of "$*")
  ! local_buildah inspect --type image "$DEBIAN" >/dev/null 2>&1 || return 0
  have mmdebstrap || install mmdebstrap
  say "making an image of Debian with $*"
  local made container
  mkdir -p "$CACHE"
  made=$(mktemp -d "$CACHE/debian.XXXXXX")
  mmdebstrap -q --variant=minbase --include="$(IFS=, && echo "$*")" --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    bookworm "$made/root.tar" /etc/apt/sources.list.d/debian.sources >&2 || {
    rm -rf "$made"
    die "mmdebstrap made no Debian with $*"
  }
  container=$(local_buildah from scratch)
  local_buildah add -q "$container" "$made/root.tar" / >/dev/null
  local_buildah config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  local_buildah commit -q --rm "$container" "$DEBIAN" >/dev/null
  rm -rf "$made"
}

# Makes the image that the Dockerfile starts from, with the packages that it would install; sets LOCAL_OPTIONS. The
# toolchain is this machine's, mounted where the official image has it, and so are the authorities that it trusts.
local_rust() {
  have rustup || die "no registry is asked, and there is no rustup here to build with: see https://rustup.rs"
  local base version toolchain sysroot
  base=$(sed -n 's/^FROM \(rust:[^ ]*\).*/\1/p' Dockerfile)
  version=${base#rust:}
  version=${version%%-*}
  toolchain=$version-$(rustc -vV | sed -n 's/^host: //p')
  sysroot=$(rustc --print sysroot)
  rustc --version | grep -qF "rustc $version " || die "the Dockerfile builds with Rust $version, and here is $(rustc --version)"
  rustup target list --installed | grep -qx "$(uname -m)-unknown-linux-musl" || rustup -q target add "$(uname -m)-unknown-linux-musl" >&2
  local_debian ca-certificates g++ make musl-tools perl
  if ! local_buildah inspect --type image "localhost/$base" 2>/dev/null | grep -qF "$DEBIAN"; then
    local container settings
    settings=$(mktemp -d)
    printf 'version = "12"\ndefault_toolchain = "%s"\nprofile = "minimal"\n' "$toolchain" >"$settings/settings.toml"
    container=$(local_buildah from --pull-never "$DEBIAN")
    local_buildah copy -q "$container" "$settings/settings.toml" /usr/local/rustup/settings.toml >/dev/null
    local_buildah copy -q "$container" "$(command -v rustup)" /usr/local/cargo/bin/rustup >/dev/null
    local_buildah run --isolation chroot "$container" -- ln -s rustup /usr/local/cargo/bin/cargo
    local_buildah run --isolation chroot "$container" -- ln -s rustup /usr/local/cargo/bin/rustc
    local_buildah config --label "base=$DEBIAN" --env RUSTUP_HOME=/usr/local/rustup --env CARGO_HOME=/usr/local/cargo \
      --env PATH=/usr/local/cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
    local_buildah commit -q --rm "$container" "localhost/$base" >/dev/null
    rm -r "$settings"
  fi
  LOCAL_OPTIONS=(
    --pull-never
    -v "$sysroot:/usr/local/rustup/toolchains/$toolchain:ro"
    -v "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}:/etc/ssl/certs/ca-certificates.crt:ro"
  )
}
