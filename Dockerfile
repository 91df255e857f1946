# A Linux machine for instructors on macOS and Windows; docs/instructors.md says how to use it.
# The course is not in the image: its folder is mounted at /course.
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends bubblewrap git make \
    && rm -rf /var/lib/apt/lists/*

# torch without CUDA is a smaller download; --build-arg TORCH_INDEX=https://pypi.org/simple takes the one with it
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

WORKDIR /kit
COPY pyproject.toml constraints.txt README.md LICENSE nbgrader_config.py ./
COPY autograder ./autograder
COPY solutions/_toolbox.py ./solutions/
RUN python -m venv /opt/autograder \
    && /opt/autograder/bin/pip install --no-cache-dir --constraint constraints.txt --extra-index-url "$TORCH_INDEX" '.[dask]'

# Nobody in here is root: the box needs no privilege.
RUN useradd --create-home --uid 1000 instructor \
    && mkdir /course \
    && chown instructor /course
USER instructor
ENV PATH=/opt/autograder/bin:$PATH
WORKDIR /course
EXPOSE 8888
CMD ["bash"]
