"""What each instruction's arguments mean: one reader for each name, from a statement to an instruction. Pure.

files      COPY, ADD
processes  RUN, CMD, ENTRYPOINT, SHELL, HEALTHCHECK
settings   FROM, ARG, ENV, LABEL, USER, WORKDIR, EXPOSE, VOLUME, STOPSIGNAL, MAINTAINER, ONBUILD

Every reader raises BuildError; `reading` adds the instruction's name where the message lacks it.
"""
