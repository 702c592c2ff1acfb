# syntax=docker/dockerfile:1
# Triton with the model repository in it: the same server, from the same wheel, as on a machine of one's own.
#   docker build -f deploy/containers/triton.Dockerfile -t foreshock/triton:0.1.0 .
#   docker build -f deploy/containers/triton.Dockerfile --build-arg KIND=KIND_GPU -t foreshock/triton-gpu:0.1.0 .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS packages
ARG KIND=KIND_CPU
ENV FORESHOCK_CACHE=/opt/cache
WORKDIR /app
COPY deploy/requirements-uv.lock deploy/requirements.lock /build/
RUN python -m pip install --no-cache-dir --no-deps --only-binary=:all: --require-hashes -r /build/requirements-uv.lock
RUN uv venv /opt/foreshock && \
    uv pip sync --no-cache --python /opt/foreshock/bin/python --require-hashes /build/requirements.lock
COPY schemas /app/schemas
COPY featurestore /app/featurestore
COPY triton_models /app/triton_models
COPY deploy /app/deploy
# What the code fetches and lays out for a local stack, at the path that its links name.
RUN python -c "from deploy.triton import triton_folder; print(triton_folder())" > /build/folder && \
    ln -s "$(cat /build/folder)" /opt/triton && rm -rf /opt/cache/uv-cache
RUN cp -r /app/triton_models/repository /models && \
    sed -i "s/kind: KIND_CPU/kind: ${KIND}/" /models/*/config.pbtxt && \
    /opt/foreshock/bin/python -m compileall -q /app /models

FROM python:${PYTHON}
COPY --from=packages /opt/cache /opt/cache
COPY --from=packages /opt/triton /opt/triton
COPY --from=packages /opt/foreshock /opt/foreshock
COPY --from=packages /app /app
COPY --from=packages /models /models
ENV PATH=/opt/foreshock/bin:/usr/local/bin:/usr/bin:/bin \
    LD_LIBRARY_PATH=/opt/triton/libraries:/usr/local/lib \
    PYTHONPATH=/opt/foreshock/lib/python3.11/site-packages:/app \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_NUM_THREADS=1 \
    MKL_NUM_THREADS=1 \
    LANG=C.UTF-8 \
    HOME=/tmp
WORKDIR /app
USER 10001:10001
EXPOSE 8000 8001 8002
ENTRYPOINT ["/opt/triton/tritonserver", "--model-repository=/models", "--backend-directory=/opt/triton/backends", \
    "--model-control-mode=explicit", "--strict-readiness=false", "--exit-timeout-secs=5", \
    "--allow-cpu-metrics=false", "--allow-gpu-metrics=false"]
CMD ["--load-model=lstm-ticks", "--load-model=performer-ticks"]
