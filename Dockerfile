# The image of logout-sidecar. Two stages: the first makes the wheel and installs it into a folder of its own, the second
# is the same base with that folder. At run time it needs no shell, no package manager, no HOME, no writable root:
#
#   docker run --read-only --tmpfs /tmp -v ./sidecar.yaml:/etc/logout-sidecar/sidecar.yaml:ro -p 4180:4180 IMAGE
#
# State is in /var/lib/logout-sidecar, the one folder besides /tmp that is written to.

# The Python that the tests run with. Pin the digest as well where you build:
#   docker build --build-arg BASE_DIGEST=@sha256:... .
ARG BASE_TAG=3.11.13-slim-bookworm
ARG BASE_DIGEST=

FROM python:${BASE_TAG}${BASE_DIGEST} AS build
WORKDIR /build
COPY LICENSE README.md pyproject.toml ./
COPY sidecar ./sidecar
# Our own code is compiled (docs/decisions/032), which takes minutes; of what it depends on only wheels are taken. The
# compiler stays in this stage, and the new environment gets no pip.
# hadolint ignore=DL3008  # the base pins the release of Debian, which keeps only the newest patch of a package
RUN apt-get update \
    && apt-get install --no-install-recommends --yes gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
RUN HATCH_BUILD_HOOK_ENABLE_MYPYC=1 PIP_ONLY_BINARY=:all: \
    python -m pip wheel --no-cache-dir --no-deps --wheel-dir /dist . \
    && python -m venv --without-pip /opt/logout-sidecar \
    && python -m pip --python /opt/logout-sidecar/bin/python install --no-cache-dir --only-binary=:all: /dist/*.whl \
    && /opt/logout-sidecar/bin/python -P -c 'from sidecar.build import IS_COMPILED; assert IS_COMPILED' \
    && mkdir /state

FROM python:${BASE_TAG}${BASE_DIGEST}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="logout-sidecar" \
      org.opencontainers.image.description="OpenID Connect back-channel logout for applications that cannot be changed" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Compiled files are in the image already, and the root may be read-only.
ENV PYTHONDONTWRITEBYTECODE=1
COPY --from=build /opt/logout-sidecar /opt/logout-sidecar
COPY --from=build --chown=65532:65532 /state /var/lib/logout-sidecar
# A number, so that `runAsNonRoot` can be checked without the image's user database.
USER 65532:65532
WORKDIR /
VOLUME ["/var/lib/logout-sidecar"]
# Browsers and the provider; health and metrics. The relay stays on loopback.
EXPOSE 4180 4181
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["/opt/logout-sidecar/bin/logout-sidecar", "health"]
ENTRYPOINT ["/opt/logout-sidecar/bin/logout-sidecar"]
CMD ["run", "-c", "/etc/logout-sidecar/sidecar.yaml"]
