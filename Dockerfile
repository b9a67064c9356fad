# One image with all four programs, which are one static file with four names. It has no shell, runs as user 65532, and works
# with a read-only root.
#
# dev/image builds it with docker, podman or buildah, and passes the arguments that make the build reproducible.
#
# A tag can move. A release pins the base image by the digest that its registry reports for the tag below:
#   RUST_IMAGE=rust:1.95.0-slim-bookworm@sha256:... dev/image build
ARG RUST_IMAGE=rust:1.95.0-slim-bookworm
FROM ${RUST_IMAGE} AS build

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates g++ make musl-tools perl \
 && rustup target add "$(uname -m)-unknown-linux-musl"

# Only Debian's certificate authorities, without any that the building machine adds.
RUN mkdir -p /image/etc/ssl/certs && cat /usr/share/ca-certificates/mozilla/*.crt >/image/etc/ssl/certs/ca-certificates.crt

WORKDIR /source
COPY . .
# OpenSSL embeds the time of its build unless SOURCE_DATE_EPOCH is set. Line tables would triple the size.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    SOURCE_DATE_EPOCH=0 CARGO_PROFILE_RELEASE_DEBUG=false CARGO_PROFILE_RELEASE_STRIP=symbols \
    cargo build --locked --release -p retail-cli --features vendored-openssl --bin retail --target "$(uname -m)-unknown-linux-musl" --target-dir /target \
 && cp "/target/$(uname -m)-unknown-linux-musl/release/retail" /image/ \
 && rm -r /target \
 && for program in retail-producer retail-processor retail-operator; do ln -s retail "/image/$program" || exit; done

FROM scratch
ARG VERSION=unknown
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="retail-pipeline" \
      org.opencontainers.image.description="Purchases from Kafka as exact windowed aggregates in Postgres: operator, processor, producer, command line" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.created="$CREATED"
COPY --from=build /image/ /
ENV PATH=/
USER 65532:65532
CMD ["/retail", "--help"]
