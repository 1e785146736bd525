# CPU image: docker build -t ttt . ; docker run -v $PWD/runs:/ttt/runs ttt train configs/run/quickstart.yaml ...
# With CUDA: docker build --build-arg BASE=nvidia/cuda:13.0.1-cudnn-devel-ubuntu24.04 -t ttt .
ARG BASE=debian:12
FROM ${BASE}
ENV TTT_CACHE=/opt/ttt
WORKDIR /ttt
COPY tools tools
RUN tools/setup.sh
COPY . .
RUN tools/build.sh ttt_main
ENTRYPOINT ["build/ttt"]
