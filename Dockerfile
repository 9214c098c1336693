# syntax=docker/dockerfile:1

# ---- build
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# The caches outlive the image's layers, so that only what changed is compiled again. The binary is copied out of the cache in
# the same step, because the cache is not there in the next one. The data folder is created here because the final image has no
# shell.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin boxoffice \
    && mkdir /out \
    && strip --strip-debug -o /out/boxoffice target/release/boxoffice \
    && mkdir /out/data

# ---- run: the C library, the certificates that the web trusts, and the binary; no shell, no package manager
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /out/boxoffice /usr/local/bin/boxoffice
COPY --from=build --chown=nonroot:nonroot /out/data /var/lib/boxoffice

ENV BOXOFFICE_DATA_DIR=/var/lib/boxoffice
VOLUME /var/lib/boxoffice
EXPOSE 50051

# The service listens on loopback by default. To publish its port, allow an address that other machines can reach, if everybody
# who can reach it may do everything:
#   docker run -e BOXOFFICE_LISTEN=0.0.0.0:50051 -e BOXOFFICE_TRUSTED_NETWORK=true -p 127.0.0.1:50051:50051 boxoffice
USER nonroot:nonroot
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --start-interval=1s --retries=3 \
    CMD ["/usr/local/bin/boxoffice", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/boxoffice"]
CMD ["serve"]
