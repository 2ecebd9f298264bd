# The same install as `make serve`: CPU engine, no weights. Models and numba's cache are made at build time.
FROM python:3.11-slim
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /app
COPY . .
RUN useradd --create-home relight && chown -R relight /app
USER relight
ENV PATH=/home/relight/.local/bin:$PATH NUMBA_CACHE_DIR=/home/relight/.cache/numba
RUN pip install --no-cache-dir --user -c constraints.txt . && relight doctor --download && relight bench --seconds 1 --json-only
EXPOSE 8080
# Inside a container loopback reaches nobody. --private prints a link for one use (docker logs); with the port published on
# loopback alone, everyone may be admitted: docker run -p 127.0.0.1:8080:8080 IMAGE relight serve --host 0.0.0.0 --open
CMD ["relight", "serve", "--host", "0.0.0.0", "--private"]
