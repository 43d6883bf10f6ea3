# syntax=docker/dockerfile:1
# Tracecar's image, for amd64 and arm64. The base needs Python 3.11 or later with venv. Build and result use the same base,
# because the virtual environment refers to its interpreter. The digest is that of the index of all platforms. Another base:
# --build-arg BASE=REPOSITORY:TAG@sha256:… (`docker buildx imagetools inspect REPOSITORY:TAG` shows the digest). A bill of
# materials of everything inside comes from the builder: docker buildx build --sbom=true --provenance=mode=max …
# The workflows add labels with the base's name and digest.
ARG BASE=python
# A stage of its own: Dependabot updates names of images in FROM lines, not in arguments.
FROM docker.io/library/python:3.13.15-slim-trixie@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS python

FROM ${BASE} AS build
ARG UV_VERSION=0.13.9
ENV UV_PYTHON_DOWNLOADS=never UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_PROJECT_ENVIRONMENT=/opt/tracecar PIP_DISABLE_PIP_VERSION_CHECK=1
RUN --mount=type=cache,target=/root/.cache \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install --quiet uv==${UV_VERSION}
WORKDIR /build
# What it depends on changes seldom: a layer of its own. faker (25 MB) is only for examples in API documents, which are
# not made.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN --mount=type=cache,target=/root/.cache \
    /opt/uv/bin/uv sync --frozen --no-dev --extra history --no-install-project --no-install-package faker --python python3
COPY sidecar sidecar
COPY exporters exporters
COPY tui tui
RUN --mount=type=cache,target=/root/.cache \
    /opt/uv/bin/uv sync --frozen --no-dev --extra history --no-editable --no-install-package faker --python python3 \
    && mkdir -p /opt/tracecar/share \
    && /opt/uv/bin/uv export --frozen --no-dev --extra history --no-emit-package faker --quiet --preview-features sbom-export \
       --format cyclonedx1.5 --output-file /opt/tracecar/share/sbom.cdx.json \
    && cp LICENSE /opt/tracecar/share/ \
    && find /opt/tracecar/lib -type f \( -name '*.c' -o -name '*.pyx' -o -name '*.pxd' -o -name '*.pxi' -o -name '*.pyi' -o -name '*.h' \
       -o -path '*/pygments/lexers/__pycache__/*' \) -delete

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="Tracecar" \
      org.opencontainers.image.description="Makes event-driven systems visible, on Kafka and Redis Streams" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.url="${SOURCE}" \
      org.opencontainers.image.documentation="${SOURCE}" \
      org.opencontainers.image.vendor="Tracecar" \
      io.tracecar.sbom="/opt/tracecar/share/sbom.cdx.json" \
      io.tracecar.sbom.format="CycloneDX 1.5"
COPY --from=build /opt/tracecar /opt/tracecar
ENV PATH=/opt/tracecar/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/var/lib/tracecar \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# The only state is a generated token in /var/lib/tracecar: give it a volume. Everything else may be read-only. Any user of
# group 0 can write there, as OpenShift assigns them.
RUN mkdir -p /var/lib/tracecar && chown 65532:0 /var/lib/tracecar && chmod g=u /var/lib/tracecar
USER 65532:65532
VOLUME /var/lib/tracecar
EXPOSE 8425 8426
STOPSIGNAL SIGTERM
# Asks the port of the configuration, of the API or of the health listener.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
  CMD ["tracecar", "healthcheck", "-c", "/etc/tracecar/config/tracecar.yaml"]
ENTRYPOINT ["tracecar"]
CMD ["run", "-c", "/etc/tracecar/config/tracecar.yaml"]
