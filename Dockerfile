# syntax=docker/dockerfile:1
# The gateway as an image: compiled JavaScript, production dependencies, and a user without rights.
#
#   docker build -t holdfast .
#   docker run -v ./holdfast.yaml:/etc/holdfast/holdfast.yaml:ro -v holdfast:/var/lib/holdfast -p 1883:1883 holdfast
#
# Devices of type opcua need a package that not everybody wants (32 MB): docker build --build-arg EXTRAS=opcua …
#
# It writes to its volume alone, so that the root file system may be read-only. The configuration inside is the
# default one, which listens on loopback only: mount your own to let machines in.

FROM node:24-slim AS dependencies
WORKDIR /build
COPY package.json package-lock.json ./
RUN npm ci --ignore-scripts --omit=dev --omit=optional --no-audit --no-fund
ARG EXTRAS=
COPY extras extras
RUN for extra in $EXTRAS; do \
      npm ci --ignore-scripts --omit=dev --no-audit --no-fund --prefix "extras/$extra" || exit 1; \
    done

FROM dependencies AS build
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY tools/build.ts tools/build-console.ts tools/
COPY config config
COPY simulators simulators
COPY src src
RUN node tools/build.ts

FROM node:24-slim
LABEL org.opencontainers.image.title="Holdfast" \
      org.opencontainers.image.description="A messaging gateway for the factory edge" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN groupadd --gid 10001 holdfast \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/holdfast --shell /usr/sbin/nologin holdfast \
 && install -d -o 10001 -g 10001 -m 0750 /var/lib/holdfast \
 && install -d /etc/holdfast
COPY LICENSE /opt/holdfast/
COPY --from=dependencies /build/node_modules /opt/holdfast/node_modules
COPY --from=build /build/dist /opt/holdfast
COPY --from=dependencies /build/extras /opt/holdfast/extras
COPY config/gateway.yaml /etc/holdfast/holdfast.yaml

ENV NODE_ENV=production \
    GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=131072:glibc.malloc.trim_threshold=131072 \
    HOLDFAST_CONFIG=/etc/holdfast/holdfast.yaml \
    HOLDFAST_DATA=/var/lib/holdfast
USER 10001:10001
WORKDIR /var/lib/holdfast
VOLUME /var/lib/holdfast
# MQTT, MQTT over WebSocket, MQTT over TLS.
EXPOSE 1883 9001 8883
# SIGTERM drains: acknowledged messages are on disk, deliveries in flight are finished or noted.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=60s --retries=3 \
  CMD ["node", "/opt/holdfast/src/main.js", "health"]
# The flags, and GLIBC_TUNABLES, are those of ./holdfast: memory is given back sooner than a server would.
ENTRYPOINT ["node", "--max-semi-space-size=2", "/opt/holdfast/src/main.js"]
CMD ["run"]
