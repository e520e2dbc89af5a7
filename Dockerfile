# The operator's image: `make image`. It contains only Python, the pinned dependencies and the package. It runs as any
# user, and with a read-only file system.

# Any image with Python 3.11 or newer and its venv module.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim

FROM ${BASE_IMAGE} AS build
RUN python3 -m venv --without-pip /opt/harborhook && python3 -m venv /opt/build
WORKDIR /src
COPY requirements.lock requirements-dev.lock ./
# A secret `pip.conf` may name the index that a company uses; it stays out of the image.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /opt/build/bin/pip --python /opt/harborhook/bin/python install \
    --disable-pip-version-check --no-cache-dir --require-hashes -r requirements.lock
# The package is built by the setuptools that is pinned for development.
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    sed -n '/^setuptools==/,/[^\\]$/p' requirements-dev.lock > build.lock && \
    /opt/build/bin/pip install --disable-pip-version-check --no-cache-dir --require-hashes -r build.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir dist . && \
    /opt/build/bin/pip --python /opt/harborhook/bin/python install --no-deps --no-index dist/*.whl

FROM ${BASE_IMAGE}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Harborhook" \
      org.opencontainers.image.description="Kubernetes operator for Harbor projects and webhook policies" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Removes pip and the like: no packages are installed in a running container.
RUN python3 -c "import importlib.util as u, pathlib, shutil; \
    [shutil.rmtree(pathlib.Path(s.origin).parent) for s in map(u.find_spec, ('pip', 'ensurepip')) if s]" && \
    rm -f /usr/local/bin/pip*
COPY --from=build /opt/harborhook /opt/harborhook
ENV PATH=/opt/harborhook/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["harborhook"]
CMD ["run"]
