//! PromQL: parser, evaluator and results.
