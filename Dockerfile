# The image of Warren: a build stage, and a final stage without a shell. docs/image.md describes how to build and
# run it, docs/adr/0015-image-without-a-shell.md the reasons for its design.

ARG RUST_VERSION=1.95
# Debian 12: a program linked with its C library also runs on later releases.
ARG BUILD_BASE=rust:${RUST_VERSION}-slim-bookworm
ARG RUNTIME_BASE=gcr.io/distroless/cc-debian13:nonroot

FROM ${BUILD_BASE} AS build
ARG RUST_VERSION
WORKDIR /build

# The default base has Rust, a C compiler and CA certificates. A plain Debian has none of them, and its Rust package
# is too old. The base determines the versions of Debian packages.
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

# Smaller than the release profile builds it, at the cost of build time.
ENV CARGO_PROFILE_RELEASE_CODEGEN_UNITS=1 \
    CARGO_PROFILE_RELEASE_DEBUG=false \
    CARGO_PROFILE_RELEASE_LTO=fat \
    CARGO_PROFILE_RELEASE_STRIP=symbols

# The dependencies, built around empty crates: this layer is built again only when a manifest changes. The
# build results of the empty crates are deleted, so that Cargo, which compares file times, cannot take them
# for the real ones.
COPY Cargo.toml Cargo.lock ./
COPY crates/broker/Cargo.toml crates/broker/
COPY crates/cli/Cargo.toml crates/cli/
COPY crates/client/Cargo.toml crates/client/
COPY crates/config/Cargo.toml crates/config/
COPY crates/hub/Cargo.toml crates/hub/
COPY crates/observe/Cargo.toml crates/observe/
COPY crates/protocol/Cargo.toml crates/protocol/
COPY crates/server/Cargo.toml crates/server/
COPY testkit/Cargo.toml testkit/
COPY tools/load/Cargo.toml tools/load/
COPY xtask/Cargo.toml xtask/
RUN mkdir benches && touch benches/fanout.rs && \
    find . -name Cargo.toml -execdir sh -c 'mkdir src && touch src/lib.rs' \; && \
    cargo build --release --locked --lib && \
    cargo clean --release --workspace

COPY crates crates
COPY src src
COPY web web
# The certificates that Debian ships, if any, without those that an administrator added to the base image.
RUN cargo build --release --locked --bin warren && \
    { cat /usr/share/ca-certificates/mozilla/*.crt >cert.pem || true; }

FROM ${RUNTIME_BASE}
# The last location that TLS searches, so that a base with its own certificates keeps using those.
COPY --from=build /build/cert.pem /etc/ssl/cert.pem
COPY --from=build /build/target/release/warren /usr/local/bin/warren

ENV WARREN_LISTEN=0.0.0.0:8080 \
    WARREN_ADMIN_LISTEN=0.0.0.0:9090
EXPOSE 8080 9090
# Numeric, so that Kubernetes can verify that it is not root.
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
