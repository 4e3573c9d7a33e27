# vpngw alone in an image: docs/containers.md says how to run it.
ARG GOLANG=golang:1.27
FROM ${GOLANG} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=unknown
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=${VERSION}" -o /out/usr/bin/vpngw ./cmd/vpngw
# BGP's process runs as vpngw-bgp. The directories are there because the container's root file system is read-only.
RUN install -d /out/etc/vpngw /out/run/vpngw && install -d -m 700 /out/var/lib/vpngw && \
	printf '%s\n' root:x:0:0:root:/:/usr/bin/vpngw vpngw-bgp:x:64790:64790::/:/usr/bin/vpngw >/out/etc/passwd && \
	printf '%s\n' root:x:0: vpngw-bgp:x:64790: >/out/etc/group

FROM scratch
COPY --from=build /out/ /
# Every command is this program: docker run … vpngw check -c /etc/vpngw/vpngw.yaml
ENTRYPOINT ["/usr/bin/vpngw"]
CMD ["run", "-c", "/etc/vpngw/vpngw.yaml"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/bin/vpngw", "health"]
