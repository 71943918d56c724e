"""Every row of the acceptance list that applies to the core and NIRI has an existing test.

Rows C1 to C20 are those of tests/e2e/test_acceptance_calibrations.py; C17 is of GNIRS alone.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIST = ROOT.parent / "shared" / "reference" / "acceptance.md"
_E2E, _SELECT, _FILES, _PLANNER, _KEPT = (
    "tests/e2e/test_acceptance.py",
    "tests/unit/test_select.py",
    "tests/unit/cli/test_files.py",
    "tests/unit/plan/test_planner.py",
    "tests/unit/plan/test_named_and_kept.py",
)
_DOCS, _ARGUMENTS, _RUN, _ARCHITECTURE = (
    "tests/unit/test_docs.py",
    "tests/unit/test_arguments.py",
    "tests/unit/run/test_api.py",
    "tests/unit/test_architecture.py",
)
_EMIR, _YAML, _BLOCKS, _USERS, _WISHES, _MASTERS = (
    f"plugins/emir/tests/test_{name}.py" for name in ("emir", "yaml", "requests", "users", "requirements", "night")
)
#: {row: its tests}.
SHOWN = {
    "A1": f"{_E2E}::test_a1_d1_one_command_makes_dark_mask_flat_science_and_standard",
    "A5": "tests/e2e/test_night_forms.py::test_products_are_the_same_bytes",
    "A6": "tests/e2e/test_night_forms.py::test_products_are_the_same_bytes",
    "A7": "tests/unit/test_inputs.py::test_several_lists_mixed_with_names"
    " tests/unit/test_inputs.py::test_list_with_comments_quotes_and_several_names"
    " tests/unit/test_inputs.py::test_nested_lists_relative_to_their_list_and_kept_below",
    "A8": f"{_E2E}::test_a8_a7_d2_names_outside_in_a_list_that_select_wrote",
    "A9": f"{_E2E}::test_a9_d7_order_of_the_lists_does_not_choose_the_recipe",
    "A10": f"{_E2E}::test_a10_a13_plan_organises_the_data",
    "A11": f"{_E2E}::test_a11_e11_d19_excess_of_exposure_time_is_close_enough",
    "A12": f"{_PLANNER}::test_failed_calibration_frames_are_left_out",
    "A13": f"{_E2E}::test_a10_a13_plan_organises_the_data",
    "A14": f"{_EMIR}::test_pattern_and_identity {_USERS}::test_a14_exposures_of_a_position_share_the_skys_noise"
    f" {_PLANNER}::test_configurations_exposures_targets_and_nights_split"
    f" {_PLANNER}::test_each_exposure_of_a_burst_is_a_frame",
    "A15": f"{_FILES}::test_show_keywords_needs_no_plugin",
    "B1": "tests/unit/test_real_headers.py::test_tags_are_the_archives plugins/niri/tests/test_niri.py::test_tags",
    "B2": f"{_E2E}::test_b2_b18_d3_flats_are_flat_and_image",
    "B3": f"{_E2E}::test_b3_b4_select_as_in_the_tutorials",
    "B4": f"{_E2E}::test_b3_b4_select_as_in_the_tutorials",
    "B5": f"{_SELECT}::test_strict_is_exact {_SELECT}::test_strict_finds_exact_values",
    "B6": "tests/property/test_select_properties.py::test_one_percent_of_the_larger",
    "B7": f"{_SELECT}::test_expressions_that_hold {_SELECT}::test_expressions_that_do_not",
    "B8": f"{_SELECT}::test_expressions_that_hold",
    "B9": f"{_SELECT}::test_expressions_that_hold",
    "B10": f"{_SELECT}::test_expressions_that_hold",
    "B11": f"{_E2E}::test_a8_a7_d2_names_outside_in_a_list_that_select_wrote",
    "B12": f"{_E2E}::test_b12_b17_three_ways_to_the_science_frames",
    "B13": f"{_E2E}::test_b13_b14_a_selection_is_piped_into_a_table",
    "B14": f"{_E2E}::test_b13_b14_a_selection_is_piped_into_a_table {_FILES}::test_show_prints_a_plain_table",
    "B15": f"{_E2E}::test_b15_descriptors_without_pixels",
    "B16": f"{_E2E}::test_b16_d20_c18_partner_calibrations_are_standards",
    "B17": f"{_E2E}::test_b12_b17_three_ways_to_the_science_frames",
    "B18": f"{_E2E}::test_b2_b18_d3_flats_are_flat_and_image",
    "D1": f"{_E2E}::test_a1_d1_one_command_makes_dark_mask_flat_science_and_standard",
    "D2": f"{_E2E}::test_d2_d3_d4_d18_products_are_named_after_their_first_frame",
    "D3": f"{_E2E}::test_d2_d3_d4_d18_products_are_named_after_their_first_frame",
    "D4": f"{_E2E}::test_d2_d3_d4_d18_products_are_named_after_their_first_frame",
    "D5": f"{_E2E}::test_d2_d3_d4_d18_products_are_named_after_their_first_frame",
    "D6": f"{_E2E}::test_d6_names_are_printed_and_kept",
    "D7": f"{_E2E}::test_a9_d7_order_of_the_lists_does_not_choose_the_recipe"
    " tests/unit/cli/test_argv.py::test_recipe_is_told_by_its_suffix"
    " tests/e2e/test_recipes.py::test_a_recipe_of_ones_own",
    "D8": f"{_E2E}::test_d8_d22_recipes_and_steps_by_name"
    " tests/e2e/test_recipes.py::test_check_wcs_lists_what_it_finds_and_writes_nothing",
    "D9": "tests/e2e/test_recipes.py::test_pieces_stacked_are_one_stack_within_noise",
    "D10": f"{_E2E}::test_d10_a_flat_is_lamp_on_minus_lamp_off_with_a_median_of_1"
    " tests/unit/steps/test_calibrations.py::test_lamp_on_minus_lamp_off_whatever_the_lamp_did",
    "D11": f"{_E2E}::test_d11_e14_mask_from_flats_and_short_darks_is_used_at_once",
    "D14": f"{_E2E}::test_d14_d15_d16_d17_the_stack",
    "D15": f"{_E2E}::test_d14_d15_d16_d17_the_stack",
    "D16": f"{_E2E}::test_d14_d15_d16_d17_the_stack",
    "D17": f"{_E2E}::test_d14_d15_d16_d17_the_stack",
    "D18": f"{_E2E}::test_d2_d3_d4_d18_products_are_named_after_their_first_frame",
    "D19": f"{_E2E}::test_a11_e11_d19_excess_of_exposure_time_is_close_enough",
    "D20": f"{_E2E}::test_b16_d20_c18_partner_calibrations_are_standards",
    "D22": "tests/e2e/test_recipes.py::test_steps_by_themselves",
    "E1": f"{_E2E}::test_e1_c13_e12_e13_lines_of_the_tutorial"
    " tests/unit/cli/test_argv.py::test_words_are_assigned_by_shape",
    "E2": f"{_ARGUMENTS}::test_pairs_and_mappings_of_parameters_are_alike",
    "E3": f"{_E2E}::test_e3_e7_params_are_those_of_the_file",
    "E4": f"{_E2E}::test_e4_a_target_that_fills_the_field_keeps_its_flux"
    " tests/unit/steps/test_sky.py::test_contradicting_options_are_an_error",
    "E5": f"{_E2E}::test_e5_frames_on_and_off_target_are_told_apart",
    "E6": f"{_E2E}::test_e6_dithered_frames_are_sky_for_each_other",
    "E7": f"{_E2E}::test_e3_e7_params_are_those_of_the_file"
    " tests/unit/steps/test_association.py::test_neighbours_in_time_far_enough_away",
    "E10": "tests/unit/plan/test_wcscheck.py::test_a_stale_wcs_does_not_change_the_grouping",
    "E11": f"{_E2E}::test_a11_e11_d19_excess_of_exposure_time_is_close_enough",
    "E12": "tests/property/test_params_properties.py::test_the_last_layer_wins_and_is_named",
    "E13": f"{_E2E}::test_e1_c13_e12_e13_lines_of_the_tutorial {_KEPT}::test_user_mask_goes_to_every_task",
    "E14": f"{_KEPT}::test_static_mask_by_its_date_beside_a_fresh_one",
    "F1": f"{_DOCS}::test_page_runs",
    "F2": f"{_E2E}::test_d6_names_are_printed_and_kept",
    "F3": f"{_E2E}::test_d6_names_are_printed_and_kept tests/unit/cli/test_main.py::test_import_is_silent_and_light",
    "F4": f"{_RUN}::test_memory_of_nothing_works_from_a_scratch_file_and_leaves_none"
    " tests/e2e/test_recipes.py::test_pieces_stacked_are_one_stack_within_noise",
    "F5": f"{_E2E}::test_d6_names_are_printed_and_kept {_RUN}::test_log_is_json_lines_and_events_are_told",
    "H1": f"{_DOCS}::test_every_hook_has_a_page_and_is_implemented_somewhere",
    "H2": "tests/unit/test_registry.py::test_info_holds_the_cameras"
    " tests/unit/test_acceptance_rows.py::test_h2_h5_tree",
    "H3": f"{_DOCS}::test_rarer_hooks_are_accepted_and_asked plugins/niri/tests/test_niri.py::test_step_defaults",
    "H4": "tests/unit/test_acceptance_rows.py::test_h4_named_packages_are_used",
    "H5": "tests/unit/test_acceptance_rows.py::test_h2_h5_tree",
    "H6": f"{_FILES}::test_plugins_names_what_to_install",
    "A4": f"{_MASTERS}::test_levels_of_channels_are_taken_off",
    "A16": f"{_BLOCKS}::test_g24_g25_obsyaml",
    "G1": f"{_BLOCKS}::test_g1_g20_g23_stares",
    "G2": f"{_YAML}::test_g2_blocks {_YAML}::test_g2_damaged_separators {_YAML}::test_one_bad_block_of_fourteen"
    f" {_BLOCKS}::test_g2_a_bad_block_loses_nothing_else",
    "G3": f"{_BLOCKS}::test_g3_g7_reprojection {_USERS}::test_masters_by_yaml_serve_the_other_blocks",
    "G4": f"{_BLOCKS}::test_g4_g5_children_are_stacked_from_raw",
    "G5": f"{_BLOCKS}::test_g4_g5_children_are_stacked_from_raw {_YAML}::test_enabling_and_strictness"
    f" {_BLOCKS}::test_g5_disabled_children_locate_their_earlier_results",
    "G6": f"{_BLOCKS}::test_g6_exposures_of_a_block_are_combined_with_rejection",
    "G7": f"{_USERS}::test_g7_g8_flux_and_sky_keep_through_the_distortion {_BLOCKS}::test_g3_g7_reprojection",
    "G8": f"{_USERS}::test_g7_g8_flux_and_sky_keep_through_the_distortion {_EMIR}::test_distortion_agrees_with_astropy",
    "G9": f"{_WISHES}::test_iterations {_YAML}::test_g9_g10_g11_requirements_become_parameters"
    f" {_YAML}::test_table_names_every_requirement",
    "G10": f"{_WISHES}::test_sky_images_and_their_time"
    " tests/unit/steps/test_association.py::test_most_skies_are_half_and_half",
    "G11": f"{_WISHES}::test_refine_offsets_and_offsets",
    "G12": f"{_WISHES}::test_refine_offsets_and_offsets {_BLOCKS}::test_g12_to_g15_variants",
    "G13": f"{_MASTERS}::test_response_from_the_sky",
    "G14": f"{_WISHES}::test_iterations",
    "G15": f"{_WISHES}::test_refine_offsets_and_offsets {_BLOCKS}::test_g12_to_g15_variants",
    "G16": f"{_YAML}::test_g16_both_layouts",
    "G17": f"{_EMIR}::test_detector_by_date {_EMIR}::test_fate {_BLOCKS}::test_g17_frames_between_the_detectors",
    "G18": f"{_YAML}::test_g18_spectral_products_are_ignored",
    "G19": f"{_USERS}::test_g19_g21_g22_g26_the_command_as_its_users_give_it"
    f" {_USERS}::test_g19_a_name_that_is_not_in_the_data_directory",
    "G20": f"{_BLOCKS}::test_g1_g20_g23_stares {_USERS}::test_masters_of_earlier_runs_in_a_control_file",
    "G21": f"{_USERS}::test_g19_g21_g22_g26_the_command_as_its_users_give_it",
    "G22": f"{_USERS}::test_g19_g21_g22_g26_the_command_as_its_users_give_it {_YAML}::test_g22_link_files_said_once",
    "G23": f"{_BLOCKS}::test_g1_g20_g23_stares",
    "G24": f"{_BLOCKS}::test_g24_g25_obsyaml",
    "G25": f"{_BLOCKS}::test_g24_g25_obsyaml",
    "G26": f"{_USERS}::test_g19_g21_g22_g26_the_command_as_its_users_give_it",
    "G27": f"{_USERS}::test_g27_more_frames_than_files_may_be_open",
    "G28": f"{_BLOCKS}::test_g6_exposures_of_a_block_are_combined_with_rejection",
    "G29": f"{_YAML}::test_one_bad_block_of_fourteen",
}
_F2, _GNIRS = "plugins/f2/tests/test", "plugins/gnirs/tests/test"
SHOWN |= {
    "A2": f"{_F2}_nights.py::test_a2_lamp_off_frames_of_three_days_before",
    "A3": " ".join(
        f"{_GNIRS}_nights.py::test_{name}"
        for name in ("a3_c17_dark_of_another_day_is_found", "a3_darks_of_the_mask_are_named", "a3_no_darks_no_mask")
    ),
    "D12": f"{_F2}_masks.py::test_disc_is_the_observatorys",
    "E8": f"{_GNIRS}_keyhole.py::test_e8_as_many_pixels_are_lit_as_were_measured"
    f" {_GNIRS}_keyhole.py::test_e8_the_red_cameras_see_the_same_hole_as_the_blue_ones",
    "E9": f"{_F2}_nights.py::test_e9_the_probes_shadow_is_flagged_and_said",
    "D13": f"{_F2}_nights.py::test_d13_no_static_mask_is_said_and_no_failure",
    "D21": f"{_GNIRS}_nights.py::test_d21_the_report_tells_how_good_the_data_are",
    "C17": " ".join(
        f"{_GNIRS}_nights.py::test_{name}"
        for name in (
            "a3_c17_dark_of_another_day_is_found",
            "c17_a_dark_that_the_user_names",
            "c17_a_dark_that_is_configured",
        )
    ),
}
SHOWN["A12"] += f" {_GNIRS}_nights.py::test_a12_failed_darks_are_not_used"
SHOWN["E7"] += f" {_GNIRS}_nights.py::test_e7_sky_frames_are_of_ten_minutes"


def test_every_row_is_shown_by_tests_that_exist() -> None:
    known: dict[str, set[str]] = {}
    for row, tests in SHOWN.items():
        for test in tests.split():
            path, _, name = test.partition("::")
            if path not in known:
                known[path] = {n.name for n in ast.walk(ast.parse((ROOT / path).read_text())) if hasattr(n, "name")}
            assert name in known[path], f"row {row}: {test} does not exist"


def test_no_row_is_forgotten() -> None:
    if not LIST.is_file():
        pytest.skip("the list of acceptance is not here")
    rows = set(re.findall(r"^\| ([ABDEFGH]\d+) \|", LIST.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == {row for row in SHOWN if not row.startswith("C")}


def test_h2_h5_tree() -> None:
    """Core, plugins and tests have their places; a plugin registers under one entry-point group."""
    import tomli

    for place in ("core", "plugins/niri", "tests", "docs", "pyproject.toml", "Makefile"):
        assert (ROOT / place).exists(), place
    for path in ROOT.glob("plugins/*/pyproject.toml"):
        project = tomli.loads(path.read_text())["project"]
        assert project["name"] == f"nirred-{path.parent.name}"
        assert list(project["entry-points"]["nirred.plugins"]) == [path.parent.name]
        assert any(d.startswith("nirred") for d in project["dependencies"])


@pytest.mark.parametrize("package", ["pluggy", "astropy", "numpy", "scipy", "reproject", "photutils", "click", "tomli"])
def test_h4_named_packages_are_used(package: str) -> None:
    import tomli

    wanted = tomli.loads((ROOT / "core" / "pyproject.toml").read_text())["project"]["dependencies"]
    assert any(re.match(rf"{package}\b", d) for d in wanted)
    sources = [p.read_text(encoding="utf-8") for p in (ROOT / "core" / "src").rglob("*.py")]
    used = rf"^\s*(import|from) {package}\b|import_module\(\"{package}\b"
    assert any(re.search(used, s, re.MULTILINE) for s in sources)
