# The image of Warren: built in one stage, run from another that has no shell. docs/image.md says
# how to build and run it; docs/adr/0015-image-without-a-shell.md says why it is made like this.

ARG RUST_VERSION=1.95
# Debian 12: a program linked with its C library also runs on later ones.
ARG BUILD_BASE=rust:${RUST_VERSION}-slim-bookworm
ARG RUNTIME_BASE=gcr.io/distroless/cc-debian13:nonroot

FROM ${BUILD_BASE} AS build
ARG RUST_VERSION
WORKDIR /build

# The default base has Rust, a C compiler and CA certificates. A plain Debian has none of them, and the
# Rust that it packages is too old. Which version of a package Debian has is up to the base.
# hadolint ignore=DL3008
RUN command -v cargo || { \
        apt-get update && \
        apt-get install --yes --no-install-recommends ca-certificates curl gcc libc6-dev && \
        rm -rf /var/lib/apt/lists/* && \
        curl --fail --silent --show-error --output /tmp/rustup-init.sh \
            https://static.rust-lang.org/rustup/rustup-init.sh && \
        sh /tmp/rustup-init.sh -y --profile minimal --default-toolchain "$RUST_VERSION" && \
        ln -s /root/.cargo/bin/* /usr/local/bin/; \
    }

ENV CARGO_PROFILE_RELEASE_DEBUG=false \
    CARGO_PROFILE_RELEASE_STRIP=symbols

# The dependencies, with an empty crate in place of ours: this layer is built again only when one of
# the two manifests changes. What became of the empty crate is removed, so that it cannot be taken for
# ours, whatever the times of the files.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches && \
    touch src/lib.rs benches/fanout.rs && \
    cargo build --release --locked --lib && \
    cargo clean --release --package warren

COPY src src
COPY web web
# The certificates are those that Debian ships, if it does, without any that an administrator added to
# the base for building.
RUN cargo build --release --locked --bin warren && \
    { cat /usr/share/ca-certificates/mozilla/*.crt >cert.pem || true; }

FROM ${RUNTIME_BASE}
# Where TLS looks last: a base that has certificates of its own keeps using them.
COPY --from=build /build/cert.pem /etc/ssl/cert.pem
COPY --from=build /build/target/release/warren /usr/local/bin/warren

ENV WARREN_LISTEN=0.0.0.0:8080 \
    WARREN_ADMIN_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090
# By number, so that Kubernetes can see that it is not root.
USER 65532:65532
ENTRYPOINT ["/usr/local/bin/warren"]

ARG RUNTIME_BASE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Warren" \
      org.opencontainers.image.description="WebSocket fan-out for Kubernetes: replicas joined by RabbitMQ" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${RUNTIME_BASE}"
