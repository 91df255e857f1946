# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Grade a class on Colab's free GPU
#
# For instructors who have no GPU of their own. You upload what the learning platform gave you (a zip of all
# submissions) and take home marks, feedback and the class report.
#
# - Choose *Runtime → Change runtime type → GPU* first. Without one the same cells grade on the CPU and say so.
# - Submissions are personal data, and they go to Google's machine here. Ask whether you may.
# - Hidden tests come from your own copy of the course. Set `COURSE` below to a repository that holds them.
#
# **This notebook was not tried on Colab itself.** Its commands are run by the project's tests on an ordinary machine,
# with a stand-in for Colab's upload and download. Whether Colab lets a process lock itself in is what `autograder
# doctor` says below: if it finds no box, do not go on, since students' code would run with all rights that you have here.

# %% [markdown]
# ## 1. The course and the box
#
# Colab's own torch is kept, which fits its driver. `bubblewrap` is the stronger box. If Colab's machine does not let
# it start, Landlock alone is used.

# %% tags=["colab"]
COURSE = "https://github.com/{repository}"
# !git clone --quiet --depth 1 --branch {branch} {COURSE} /content/course
# %cd /content/course
# !apt-get -qq install -y bubblewrap
# !pip install --quiet --editable .

# %% [markdown]
# The same secret draws the same hidden inputs again. Take it from Colab's secrets (the key on the left) under the name
# `AUTOGRADER_SECRET`; without it this machine makes one that is gone tomorrow.

# %% tags=["colab"]
import os

from google.colab import userdata

try:
    os.environ["AUTOGRADER_SECRET"] = userdata.get("AUTOGRADER_SECRET")
except Exception as error:  # none of that name, or no leave to read it
    print("a new secret is made for this machine:", type(error).__name__)

# %%
# !autograder doctor

# %% [markdown]
# ## 2. The submissions

# %%
from google.colab import files

LESSON = "attention_from_scratch"
(name,) = files.upload()  # one zip

# %% [markdown]
# ## 3. Grade
#
# `auto` is the GPU where there is one. The gradebook is nbgrader's and stays at home; grade there once more if you
# keep it, with the same secret.

# %%
# !autograder grade "{name}" --lesson {LESSON} --device auto --no-gradebook --json results.json

# %%
import json

with open("results.json", encoding="utf-8") as file:
    results = json.load(file)
print(f"{results['lesson']} on {results['device']}, box: {results['sandbox']}")
for one in results["submissions"]:
    print(f"{one['student']:30} {one['score']:6g} of {one['max_score']:g}  {one['status']}  {one['message'][:60]}")

# %% [markdown]
# ## 4. Take it home
#
# Marks, feedback and details as one zip. What is not downloaded is gone when Colab takes the machine back.

# %%
import shutil

files.download(shutil.make_archive("grades", "zip", f".autograder/{LESSON}"))
