# syntax=docker/dockerfile:1
# The image of all stages, and of the command line: no torch, no compiler, no root.
#   docker build -f deploy/containers/stages.Dockerfile -t foreshock/stages:0.1.0 .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS packages
WORKDIR /build
COPY deploy/requirements-uv.lock deploy/containers/requirements-stages.lock ./
RUN python -m pip install --no-cache-dir --no-deps --only-binary=:all: --require-hashes -r requirements-uv.lock
RUN uv venv /opt/foreshock && \
    uv pip sync --no-cache --python /opt/foreshock/bin/python --require-hashes requirements-stages.lock
COPY --chmod=0755 deploy/containers/foreshock /opt/foreshock/bin/foreshock
COPY LICENSE pyproject.toml README.md /app/
COPY schemas /app/schemas
COPY featurestore /app/featurestore
COPY triton_models /app/triton_models
COPY streams /app/streams
COPY deploy /app/deploy
RUN /opt/foreshock/bin/python -m compileall -q /app

FROM python:${PYTHON}
COPY --from=packages /opt/foreshock /opt/foreshock
COPY --from=packages /app /app
# One thread a process for arithmetic: a worker is one core, and sums keep their bits.
ENV PATH=/opt/foreshock/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    OMP_NUM_THREADS=1 \
    LANG=C.UTF-8 \
    HOME=/tmp
# A new volume takes its owner from here.
RUN install -d -o 10001 -g 10001 /store
WORKDIR /app
USER 10001:10001
EXPOSE 9464
ENTRYPOINT ["foreshock"]
CMD ["--help"]
