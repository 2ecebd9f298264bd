# Two targets. cpu, the default: the same install as `make serve`, CPU engine, no weights. cuda: LCVD on an NVIDIA GPU.
#   docker build .                 docker build --target cuda .
# Models and numba's cache are made at build time.

# Ubuntu 24.04's Python 3.12; torch's wheels bring CUDA's libraries, so the smallest of NVIDIA's images will do. gcc and
# Python's headers are for Triton, which compiles its launchers where it runs.
FROM nvidia/cuda:13.0.1-base-ubuntu24.04 AS cuda
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv python3-dev gcc libc6-dev && \
    rm -rf /var/lib/apt/lists/* && userdel --remove ubuntu && useradd --create-home --uid 1000 relight && \
    install -d -o relight /data
WORKDIR /app
COPY . .
RUN chown -R relight /app
USER relight
# A volume at /data keeps weights (`relight weights fetch`) and plans (`relight engine build`).
# NVENC needs the capability `video` beside CUDA's own.
ENV PATH=/home/relight/venv/bin:$PATH NUMBA_CACHE_DIR=/home/relight/.cache/numba XDG_DATA_HOME=/data RELIGHT_PLANS=/data/plans \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
RUN python3 -m venv /home/relight/venv && pip install --no-cache-dir -c constraints.txt '.[tensorrt]' && \
    relight doctor --download && relight bench --seconds 1 --json-only
EXPOSE 8080
CMD ["relight", "serve", "--host", "0.0.0.0", "--private"]

FROM python:3.11-slim AS cpu
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY . .
RUN useradd --create-home --uid 1000 relight && chown -R relight /app
USER relight
ENV PATH=/home/relight/.local/bin:$PATH NUMBA_CACHE_DIR=/home/relight/.cache/numba
RUN pip install --no-cache-dir --user -c constraints.txt . && relight doctor --download && relight bench --seconds 1 --json-only
EXPOSE 8080
# Inside a container loopback reaches nobody. --private prints a link for one use (docker logs); with the port published on
# loopback alone, everyone may be admitted: docker run -p 127.0.0.1:8080:8080 IMAGE relight serve --host 0.0.0.0 --open
CMD ["relight", "serve", "--host", "0.0.0.0", "--private"]
