# The server and the proxy of a fleet; compose.yaml runs both from this image.
#   docker build -f deploy/server.Dockerfile -t tinytrain-server .
FROM python:3.11-slim-bookworm

RUN apt-get update \
    && apt-get install -y --no-install-recommends nginx-light \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tinytrain_core tinytrain_core
COPY client client
COPY server server
COPY simulations simulations
RUN pip install --no-cache-dir -c constraints.txt ".[server]" && rm -rf /src

RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin tinytrain
USER tinytrain
WORKDIR /
ENV TINYTRAIN_FLEET=/fleet PYTHONDONTWRITEBYTECODE=1
ENTRYPOINT ["tinytrain-server"]
CMD ["up", "--format", "json"]
