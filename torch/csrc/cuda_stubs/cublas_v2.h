// What libtorch's CUDA headers name of cuBLAS, cuBLASLt, cuSPARSE and cuSOLVER, declared just far enough to compile:
// those libraries are hundreds of megabytes, and a process group needs none of them. A CUDA toolkit's own headers are
// found first.
#pragma once

typedef struct cublasContext* cublasHandle_t;
typedef struct cublasLtContext* cublasLtHandle_t;
typedef struct cusparseContext* cusparseHandle_t;
typedef struct cusolverDnContext* cusolverDnHandle_t;

typedef enum { CUBLAS_STATUS_SUCCESS = 0 } cublasStatus_t;
typedef enum { CUSPARSE_STATUS_SUCCESS = 0 } cusparseStatus_t;
typedef enum { CUSOLVER_STATUS_SUCCESS = 0 } cusolverStatus_t;

extern "C" const char* cusparseGetErrorString(cusparseStatus_t status);
