# Sourced, after lib.sh, by the scripts that build images: chooses the tool, and builds base images where no registry can be
# reached.
# shellcheck shell=bash disable=SC2034 # other scripts use these variables

# Sets TOOL to CONTAINER_TOOL, or to the first tool that works. Installs buildah if no tool works.
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
    docker | podman) have "$TOOL" || die "CONTAINER_TOOL=$TOOL, but $TOOL is not installed" ;;
    buildah) need buildah ;;
    *) die "CONTAINER_TOOL=$TOOL: expected docker, podman or buildah" ;;
  esac
}

# buildah with its own image store, outside the checkout.
local_buildah() { buildah --root "$CACHE/containers" --runroot "$CACHE/containers-run" "$@"; }

# build_with OPTION...: builds with buildah or podman. In the OCI format, because Docker's format contains the names of the
# build's containers and would differ between builds.
build_with() {
  case $TOOL in
    buildah) local_buildah build --isolation chroot --format oci "$@" ;;
    podman) podman build --format oci "$@" ;;
  esac
}

# save_image NAME FILE: writes a docker archive.
save_image() {
  rm -f "$2"
  case $TOOL in
    buildah) local_buildah push -q "$1" "docker-archive:$2:$1" >&2 ;;
    podman) podman save -q --format docker-archive -o "$2" "$1" ;;
    docker) docker save -o "$2" "$1" ;;
  esac
}

# local_debian PACKAGE...: builds an image of Debian bookworm with these packages, and sets DEBIAN to its name.
local_debian() {
  DEBIAN=localhost/debian-$(name_of "$*")
  ! local_buildah inspect --type image "$DEBIAN" >/dev/null 2>&1 || return 0
  need mmdebstrap
  say "building an image of Debian with $*"
  local made container
  mkdir -p "$CACHE"
  made=$(mktemp -d "$CACHE/debian.XXXXXX")
  mmdebstrap -q --variant=minbase --include="$(IFS=, && echo "$*")" --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    bookworm "$made/root.tar" /etc/apt/sources.list.d/debian.sources >&2 || {
    rm -rf "$made"
    die "mmdebstrap could not build Debian with $*: see above"
  }
  container=$(local_buildah from scratch)
  local_buildah add -q "$container" "$made/root.tar" / >/dev/null
  local_buildah config --cmd bash --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
  local_buildah commit -q --rm "$container" "$DEBIAN" >/dev/null
  rm -rf "$made"
}

# Builds the Dockerfile's base image, with the packages that the Dockerfile installs, and sets LOCAL_OPTIONS. This machine's
# toolchain and its trusted certificates are mounted at the paths of the official image.
local_rust() {
  have rustup || die "missing: rustup, to build the image without a registry. Install it from https://rustup.rs, then run this again"
  local base version toolchain sysroot
  base=$(sed -n 's/^ARG RUST_IMAGE=//p' Dockerfile)
  version=${base#rust:}
  version=${version%%-*}
  toolchain=$version-$(rustc -vV | sed -n 's/^host: //p')
  sysroot=$(rustc --print sysroot)
  rustc --version | grep -qF "rustc $version " || die "the Dockerfile builds with Rust $version, but this machine has $(rustc --version)"
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
