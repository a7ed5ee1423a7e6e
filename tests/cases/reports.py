"""Faults that users of other trainers reported in public, each with the test that holds ours and its neighbours.

`shown` fails where the fault comes back; `neighbours` are of the same kind with other inputs.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Report:
    """One kind of fault: what happened to people, and tests as `file.py::name` below `tests/`."""

    happened: str
    shown: str
    neighbours: tuple[str, ...]


REPORTS = (
    Report(
        "captions of pictures with decomposed names (macOS) were not found",
        "cases/test_unicode_names.py::test_a_caption_file_goes_with_its_picture",
        (
            "cases/test_unicode_names.py::test_a_row_of_a_table_finds_its_picture",
            "cases/test_unicode_names.py::test_a_condition_finds_its_picture",
            "cases/test_unicode_names.py::test_a_trigger_is_found_in_a_caption",
        ),
    ),
    Report(
        "captions in UTF-16 without a mark were trained as letters apart",
        "cases/test_caption_encodings.py::test_a_caption_is_read_in_every_encoding",
        (
            "cases/test_caption_encodings.py::test_a_table_is_read_in_every_encoding",
            "cases/test_caption_encodings.py::test_nul_bytes_never_part_letters",
        ),
    ),
    Report(
        "captions named NAME.png.txt were passed over",
        "cases/test_caption_names.py::test_a_doubled_suffix_is_read",
        (
            "cases/test_caption_names.py::test_a_json_beside_a_picture_is_read_where_there_is_no_other_caption",
            "cases/test_caption_names.py::test_two_formats_of_one_name_have_texts_of_their_own",
        ),
    ),
    Report(
        "a NAS's thumbnails were trained on",
        "cases/test_left_out.py::test_debris_is_passed_over_without_a_word",
        (
            "cases/test_left_out.py::test_a_folder_of_other_pictures_is_left_out_and_named",
            "cases/test_left_out.py::test_an_earlier_runs_previews_are_left_out",
        ),
    ),
    Report(
        "kohya's folders lost their words and repeats",
        "cases/test_kohya_folders.py::test_several_sets_are_read_as_they_stand",
        (
            "cases/test_kohya_folders.py::test_a_single_set_gives_trigger_and_repeats",
            "cases/test_kohya_folders.py::test_a_project_with_class_pictures_is_told_apart",
        ),
    ),
    Report(
        "masks beside pictures were trained as pictures",
        "cases/test_left_out.py::test_a_file_that_belongs_to_a_picture_is_none_itself",
        (
            "cases/test_left_out.py::test_pairs_inside_the_folder_are_counted_once",
            "cases/test_left_out.py::test_caches_of_other_trainers_are_named",
        ),
    ),
    Report(
        "tables with absolute names of another machine found no picture",
        "cases/test_metadata_rows.py::test_absolute_names_are_resolved_against_the_folder",
        (
            "cases/test_metadata_rows.py::test_absolute_names_through_a_link_and_into_subfolders",
            "cases/test_metadata_rows.py::test_a_name_that_is_truly_outside_is_refused_beside_names_from_here",
        ),
    ),
    Report(
        "a CSV with semicolons was one column",
        "cases/test_metadata_rows.py::test_a_csv_may_have_any_usual_delimiter",
        (
            "cases/test_metadata_rows.py::test_a_csv_may_start_as_spreadsheets_do_or_with_its_first_row",
            "cases/test_metadata_rows.py::test_the_usual_names_of_columns_are_known",
        ),
    ),
    Report(
        "a full disk at a checkpoint ended the run",
        "worker/test_disk_full.py::test_a_run_on_a_full_disk_pauses_says_which_and_goes_on",
        (
            "worker/test_disk_full.py::test_a_cache_on_a_full_disk_pauses_too",
            "worker/test_disk_full.py::test_every_writer_waits_for_a_full_disk",
        ),
    ),
    Report(
        "a folder's name that is no UTF-8 emptied a plan",
        "cases/test_plan_writers.py::test_new_refuses_what_is_not_utf8_before_it_writes",
        (
            "cases/test_plan_writers.py::test_a_plan_in_a_folder_that_is_not_utf8_works_with_absolute_paths_alone",
            "cases/test_plan_writers.py::test_a_run_is_not_made_in_a_folder_that_is_not_utf8",
        ),
    ),
    Report(
        "a plan saved with a byte order mark was no TOML",
        "cases/test_plan_files.py::test_a_byte_order_mark_and_windows_line_ends_are_read",
        (
            "cases/test_plan_files.py::test_another_encoding_is_named",
            "cases/test_plan_files.py::test_what_is_no_plain_file_is_never_read",
        ),
    ),
    Report(
        "Windows paths in a plan were escapes",
        "cases/test_plan_files.py::test_single_backslashes_are_named_with_their_way_out",
        (
            "cases/test_plan_files.py::test_typographic_marks_are_named_with_their_line",
            "cases/test_plan_files.py::test_values_that_nothing_can_hold_are_problems_of_their_key",
        ),
    ),
    Report(
        "an SD 2.x file without its unused layer lost one that is used",
        "cases/test_base_models.py::test_sd2_keeps_every_layer_that_is_used",
        (
            "cases/test_base_models.py::test_sd2_with_an_encoder_named_as_transformers_does_is_sd2",
            "models/test_detect.py::test_the_unets_shapes_decide_the_family_against_the_text_encoders_names",
        ),
    ),
    Report(
        "SDXL's first text encoder without a level in its names was not read",
        "cases/test_base_models.py::test_sdxls_first_encoder_is_read_without_its_level",
        (
            "models/test_detect.py::test_names_are_read_through_wrappers_and_without_their_first_level",
            "cases/test_base_models.py::test_a_prefix_that_all_names_have_is_taken_off",
        ),
    ),
    Report(
        "a part that lacks tensors trained random layers",
        "cases/test_base_models.py::test_a_part_that_lacks_tensors_is_named_by_check",
        (
            "cases/test_base_models.py::test_another_shape_and_what_belongs_to_nothing_are_named",
            "cases/test_base_models.py::test_shards_are_one_part_and_a_torn_one_is_named",
        ),
    ),
    Report(
        "of two variants in a folder the half one was rounded into the whole one",
        "cases/test_base_models.py::test_each_part_keeps_the_precision_of_the_file_that_is_loaded",
        (
            "cases/test_base_models.py::test_shards_are_one_part_and_a_torn_one_is_named",
            "models/test_detect_folder.py::test_shards_and_variants_count_as_weights",
        ),
    ),
    Report(
        "v-prediction said by a .yaml was trained as epsilon",
        "models/test_detect.py::test_a_yaml_beside_the_file_is_read_for_every_family",
        (
            "models/test_detect.py::test_v_prediction_is_told_by_metadata_marker_and_yaml",
            "cases/test_base_models.py::test_sources_that_disagree_ask_for_the_prediction",
        ),
    ),
    Report(
        "other spellings of a prediction type were not understood",
        "models/test_detect.py::test_a_prediction_type_is_understood_in_any_usual_spelling",
        (
            "models/test_detect.py::test_what_does_not_agree_or_is_not_known_is_a_doubt_with_every_source",
            "models/test_detect.py::test_sources_that_agree_leave_no_doubt",
        ),
    ),
    Report(
        "a file with averaged weights alone was refused with a half sentence",
        "models/test_detect.py::test_what_is_no_base_model_is_refused_by_name",
        (
            "models/test_detect.py::test_names_are_read_through_wrappers_and_without_their_first_level",
            "models/test_detect.py::test_one_tensor_under_two_names_is_refused",
        ),
    ),
    Report(
        "a pickle named .safetensors was called damaged",
        "tensorfiles/test_header.py::test_a_pickle_is_told_by_any_of_its_starts",
        (
            "tensorfiles/test_header.py::test_a_headers_length_may_look_like_the_start_of_any_other_format",
            "tensorfiles/test_header.py::test_a_file_is_refused_by_name_when_it",
        ),
    ),
    Report(
        "a .ckpt as lightning writes it was refused with torch's words",
        "tensorfiles/test_pickles.py::test_what_training_programs_keep_beside_weights_is_passed_over",
        (
            "tensorfiles/test_pickles.py::test_anything_else_is_refused_by_its_own_name",
            "cases/test_base_models.py::test_pickled_parts_are_read_and_those_without_numbers_are_named",
        ),
    ),
    Report(
        "a VAE could not be given as a file",
        "cases/test_base_models.py::test_a_vae_is_taken_from_a_file",
        (
            "cases/test_base_models.py::test_what_is_no_vae_for_this_base_is_named",
            "cases/test_base_models.py::test_a_model_without_a_vae_asks_for_one_and_takes_it",
        ),
    ),
    Report(
        "NaN in a base ended a run as finished",
        "cases/test_base_models.py::test_a_number_that_is_not_finite_is_named_at_load",
        (
            "train/test_loop.py::test_a_loss_that_is_not_finite_never_reaches_weights_or_moments",
            "tensorfiles/test_safetensors_file.py::test_values_beyond_half_precision_are_refused",
        ),
    ),
)
