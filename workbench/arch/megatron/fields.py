"""Fields of megatron's `TransformerConfig` that our sizes have no place for: what each changes, or that it changes nothing.

Pure: names and values, so that a command line can be read without megatron. Source of the meanings: the docstrings of
`megatron/core/transformer/transformer_config.py` and `megatron/core/model_parallel_config.py`, megatron-core 0.19.2.
`tests/fusion/test_sizes_of.py` holds every field of the installed config to one of three: converted, here as a caveat,
or here as harmless.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Caveat:
    """A field that changes the function, the weights or the training objective where it is not one of `neutral`."""

    field: str
    neutral: tuple[Any, ...]
    what: str


_OFF, _NONE = (False,), (None,)

CAVEATS: tuple[Caveat, ...] = (
    # Norms, activations, initial weights
    Caveat("layernorm_zero_centered_gamma", _OFF, "norms multiply by one plus their weight"),
    Caveat("apply_residual_connection_post_layernorm", _OFF, "the residual stream is taken after the norm"),
    Caveat("glu_linear_offset", (0.0,), "is added to the linear half of a gated activation"),
    Caveat("activation_func_clamp_value", _NONE, "activations are clamped"),
    Caveat("perform_initialization", (True,), "weights are not initialised"),
    Caveat("use_mup", _OFF, "initial weights, logits and attention are scaled by width (muP)"),
    # Attention
    Caveat("softmax_type", ("vanilla", "learnable"), "the softmax has one more, fixed entry in its denominator"),
    Caveat("softmax_scale", _NONE, "takes the place of 1/sqrt(head_dim)"),
    Caveat("window_size", _NONE, "attention sees a window of so many tokens before and after"),
    Caveat("window_attn_skip_freq", _NONE, "some layers attend without the window"),
    Caveat("no_rope_freq", _NONE, "some layers do not rotate"),
    Caveat("rotary_interleaved", _OFF, "neighbouring channels are rotated together, not the two halves of a head"),
    Caveat("mrope_section", _NONE, "positions of several modalities share the rotary channels"),
    Caveat("qk_l2_norm", _OFF, "queries and keys are scaled to unit length, without weights"),
    Caveat("qk_clip", _OFF, "query and key weights are clipped while training"),
    Caveat(
        "experimental_attention_variant", (None, "dsa"), "an attention that the sizes do not know; the pattern decides"
    ),
    Caveat("dsa_indexer_topk_freq", (1,), "sparse attention reuses the choice of an earlier layer"),
    Caveat("dsa_indexer_skip_topk_offset", (0,), "sparse attention reuses the choice of an earlier layer"),
    Caveat("dsa_indexer_use_sparse_loss", _OFF, "the indexer's loss is taken over the chosen tokens only"),
    Caveat("dsa_indexer_rope_interleaved", _OFF, "the indexer rotates neighbouring channels together"),
    Caveat("dsa_indexer_scoring_relu", (True,), "the indexer's scores are not cut at zero"),
    Caveat("dsa_indexer_k_norm_epsilon", _NONE, "the norm of the indexer's keys has an epsilon of its own"),
    # Mixture of experts
    Caveat("moe_router_topk_limited_devices", _NONE, "a token's experts are chosen on so many devices only"),
    Caveat("moe_router_num_groups", (None, 1), "experts are chosen within groups"),
    Caveat("moe_router_group_topk", (None, 1), "experts are chosen within so many groups"),
    Caveat("moe_router_topk_scaling_factor", (None, 1.0), "the chosen experts' scores are multiplied by it"),
    Caveat("moe_router_bias_update_rate", (0.001,), "the step by which the router's bias balances the load"),
    Caveat("moe_router_quantile_balancing_ema", (0.0,), "the router balances the load by quantiles"),
    Caveat("moe_router_force_load_balancing", _OFF, "experts are chosen at random"),
    Caveat("moe_router_force_biased", _NONE, "a random bias is added to the router's logits"),
    Caveat("moe_enable_routing_replay", _OFF, "experts are taken from a record"),
    Caveat("moe_z_loss_coeff", (None, 0.0), "the weight of the router's z loss"),
    Caveat("moe_input_jitter_eps", (None, 0.0), "noise is added to the input of the experts"),
    Caveat("moe_token_dropping", _OFF, "tokens beyond an expert's capacity are dropped"),
    Caveat("moe_expert_capacity_factor", (None, -1.0), "tokens beyond an expert's capacity are dropped"),
    Caveat("moe_expert_rank_capacity_factor", _NONE, "tokens beyond a rank's capacity are dropped"),
    Caveat("moe_apply_probs_on_input", _OFF, "experts' inputs are multiplied by the scores, not their outputs"),
    Caveat("moe_single_grouped_weight", _OFF, "all experts of a linear are one weight"),
    Caveat("moe_single_grouped_bias", _OFF, "all experts of a linear are one bias"),
    Caveat("moe_mlp_glu_interleave_size", _NONE, "the two halves of the experts' first weight are interleaved"),
    Caveat(
        "moe_shared_expert_glu_interleave_size", _NONE, "the two halves of the shared experts' weight are interleaved"
    ),
    # Multi-token prediction
    Caveat("mtp_loss_scaling_factor", (0.1,), "the weight of the MTP losses"),
    Caveat("mtp_detach_heads", _OFF, "MTP losses do not reach the main model"),
    Caveat("mtp_hybrid_override_pattern", _NONE, "layers of MTP, said the old way beside the pattern"),
    # Other modules
    Caveat("heterogeneous_block_specs", _OFF, "every layer has sizes of its own"),
    Caveat("fp8", _NONE, "linears compute in 8 bits"),
    Caveat("fp4", _NONE, "linears compute in 4 bits"),
    Caveat("quant_recipe", _NONE, "linears compute in fewer bits"),
    Caveat("use_kitchen", _OFF, "linears compute in fewer bits"),
    Caveat("use_kitchen_attention", _OFF, "attention computes in fewer bits"),
)

# Why a field changes neither function nor weights → the fields.
_HARMLESS: tuple[tuple[str, str], ...] = (
    (
        "how the model is divided over ranks, and how ranks talk",
        """
        tensor_model_parallel_size tensor_parallel_num_weight_shards gtp_weight_remat_size
        pipeline_model_parallel_comm_backend pipeline_model_parallel_size
        virtual_pipeline_model_parallel_size sequence_parallel context_parallel_size
        hierarchical_context_parallel_sizes max_seqlen_per_dp_cp_rank hybrid_context_parallel
        expert_model_parallel_size expert_tensor_parallel_size expert_tensor_parallel_num_weight_shards
        expert_gtp_weight_remat_size tp_comm_overlap tp_comm_bulk_wgrad tp_comm_bulk_dgrad
        tp_comm_overlap_ag tp_comm_overlap_rs tp_comm_overlap_rs_dgrad tp_comm_split_ag tp_comm_atomic_ag
        tp_comm_split_rs tp_comm_atomic_rs tp_comm_overlap_disable_qkv tp_comm_overlap_disable_fc1
        tp_comm_bootstrap_backend overlap_moe_expert_parallel_comm delay_wgrad_compute
        overlap_dispatch_backward_with_experts_wgrad ep_overlap_early_attn_memory_release
        variable_seq_lengths overlap_p2p_comm batch_p2p_comm batch_p2p_sync use_ring_exchange_p2p
        deallocate_pipeline_outputs defer_embedding_wgrad_compute wgrad_deferral_limit
        overlap_p2p_comm_warmup_flush microbatch_group_size_per_vp_stage mtp_standalone
        num_layers_in_first_pipeline_stage num_layers_in_last_pipeline_stage pipeline_model_parallel_layout
        account_for_embedding_in_pipeline_split account_for_loss_in_pipeline_split cp_comm_type
        symmetric_ar_type nccl_all_reduce_for_prefill high_priority_a2a_comm_stream
        moe_shared_expert_overlap moe_token_dispatcher_type moe_enable_deepep moe_flex_dispatcher_backend
        moe_permute_fusion_into_hybridep moe_hybridep_pad_uneven_dispatch_inputs moe_flex_dispatcher_num_sms
        moe_deepep_num_sms moe_hybridep_num_sms moe_hybridep_num_blocks_permute
        moe_hybridep_num_blocks_unpermute moe_hybridep_num_sms_preprocessing moe_ncclep_static_shape
        moe_ncclep_zero_copy hetereogenous_dist_checkpoint
        """,
    ),
    (
        "how precisely it is computed: the same function, rounded otherwise",
        """
        fp16 bf16 params_dtype pipeline_dtype enable_autocast autocast_dtype fp32_residual_connection
        attention_softmax_in_fp32 apply_query_key_layer_scaling disable_bf16_reduced_precision_matmul
        moe_router_dtype mamba_training_ssm_states_dtype dsa_indexer_k_norm_fp32 deterministic_mode
        batch_invariant_mode
        """,
    ),
    (
        "an orthogonal rotation of both sides of the indexer's products",
        """
        dsa_indexer_rotate_activation
        """,
    ),
    (
        "kernels, fusions, memory",
        """
        gradient_accumulation_fusion use_te_rng_tracker cross_entropy_loss_fusion cross_entropy_fusion_impl
        attention_backend flash_attention_version bias_activation_fusion masked_softmax_fusion
        persist_layer_norm memory_efficient_layer_norm bias_dropout_fusion apply_rope_fusion
        use_fused_weighted_squared_relu fused_single_qkv_rope fused_residual_rmsnorm
        use_transformer_engine_op_fuser dsa_kernel_backend moe_router_fusion moe_permute_fusion
        moe_grouped_gemm use_grouped_gemm_for_shared_expert use_grouped_gemm_for_dense_mlp
        use_te_activation_func use_mamba_mem_eff_path transformer_impl mlp_chunks_for_prefill
        mlp_chunks_for_training clone_scatter_output_in_embedding disable_parameter_transpose_cache
        moe_router_padding_for_quantization moe_router_padding_for_fp8 recompute_granularity
        recompute_method recompute_num_layers distribute_saved_activations recompute_modules
        moe_layer_recompute cpu_offloading cpu_offloading_num_layers _cpu_offloading_context
        cpu_offloading_activations cpu_offloading_weights cpu_offloading_double_buffering
        cpu_offloading_retain_pinned_cpu_buffers fine_grained_activation_offloading offload_modules
        min_offloaded_tensor_size delay_offload_until_cuda_graph delta_offload_bytes_across_pp_ranks
        activation_offload_fraction fine_grained_offloading_max_inflight_offloads moe_paged_stash
        moe_paged_stash_page_size moe_paged_stash_buffer_size_factor_cuda
        moe_paged_stash_buffer_size_factor_cpu enable_cuda_graph cuda_graph_use_single_mempool
        cuda_graph_retain_backward_graph cuda_graph_warmup_steps external_cuda_graph cuda_graph_impl
        cuda_graph_modules cuda_graph_scope num_microbatches_with_partial_activation_checkpoints
        """,
    ),
    (
        "inference",
        """
        inference_cuda_graph_scope flash_decode inference_rng_tracker inference_sampling_seed
        use_inference_optimized_layers inference_fuse_tp_communication inference_disable_triton_nvls_kernels
        inference_grouped_gemm_backend inference_moe_disable_fused_quant_kernels
        inference_moe_token_dispatcher_type cache_mla_latents moe_pad_experts_for_cuda_graph_inference
        """,
    ),
    (
        "training's surroundings: timers, hooks, logs, where weights are first made",
        """
        use_cpu_initialization init_model_with_meta_device timers finalize_model_grads_func grad_scale_func
        moe_grad_scale_func mtp_grad_scale_func no_sync_func grad_sync_func param_sync_func
        barrier_with_L1_time log_max_attention_logit test_mode calculate_per_token_loss
        experimental_attention_variant_loss_scale_func moe_per_layer_logging config_logger_dir
        """,
    ),
    (
        "nothing without the field that switches them on, which is a caveat",
        """
        activation_func_fp8_input_store fp8_recipe fp8_param fp8_quantizer_factory fp8_margin fp8_interval
        fp8_amax_history_len fp8_amax_compute_algo fp8_wgrad fp8_output_proj fp8_dot_product_attention
        fp8_multi_head_attention tp_only_amax_red first_last_layers_bf16 num_layers_at_start_in_bf16
        num_layers_at_end_in_bf16 kitchen_attention_backend fp4_recipe fp4_param fp4_quantizer_factory
        mup_width_mult mup_base_hidden_size mup_embedding_mult mup_output_mult mup_base_head_dim
        mup_attn_scale_power qk_clip_alpha qk_clip_threshold moe_pad_expert_input_to_capacity
        moe_token_drop_policy
        """,
    ),
    (
        "a hybrid model has its pattern instead",
        """
        moe_layer_freq linear_attention_freq
        """,
    ),
)

HARMLESS: frozenset[str] = frozenset(name for _, names in _HARMLESS for name in names.split())


def caveats_of(values: Mapping[str, Any], called: Callable[[str], str] = str) -> tuple[str, ...]:
    """A caveat for every value that has no place in our sizes, in the order of the table.

    `called` gives the name that the reader knows a field by.

    >>> caveats_of({"qk_clip": True, "fp8": None})
    ('qk_clip=True: query and key weights are clipped while training',)
    """
    return tuple(
        f"{called(caveat.field)}={values[caveat.field]!r}: {caveat.what}"
        for caveat in CAVEATS
        if caveat.field in values and values[caveat.field] not in caveat.neutral
    )
