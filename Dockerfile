# densityd as an image: docker build -t densityd .        (./scripts/test-image builds and tries it)
#
#   docker run -p 127.0.0.1:50051:50051 -v densityd:/var/lib/densityd --read-only --tmpfs /tmp densityd \
#     --root /var/lib/densityd --address 0.0.0.0:50051 --insecure-listen-beyond-loopback
#
# Without arguments it serves inside its own network namespace only: reaching it from outside is the operator's choice.
FROM docker.io/library/debian:bookworm-slim AS build
WORKDIR /src
# Apart from the sources, so that a change of theirs downloads nothing.
COPY scripts scripts
RUN ./scripts/setup --build
COPY . .
RUN cmake --preset release -DDENSITYD_BUILD_TESTS=OFF -DDENSITYD_BUILD_BENCHMARKS=OFF \
 && cmake --build build/release --target densityd densityctl \
 && cmake --install build/release --prefix /opt/densityd --component server --strip

FROM docker.io/library/debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends \
      libgrpc++1.51 libhwy1 libprometheus-cpp-pull1.0 libprotobuf32 libspdlog1.10 libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && mkdir -p /var/lib/densityd \
 && chown 65532:65532 /var/lib/densityd
COPY --from=build /opt/densityd /opt/densityd
COPY LICENSE /opt/densityd/LICENSE
ENV PATH=/opt/densityd/bin:/usr/bin:/bin
USER 65532:65532
VOLUME /var/lib/densityd
EXPOSE 50051 9464
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["densityctl", "--timeout", "4", "health"]
ENTRYPOINT ["densityd"]
CMD ["--root", "/var/lib/densityd"]
