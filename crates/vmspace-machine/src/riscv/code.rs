//! The codes of operations, listed once: [`operations`] hands the lists to whoever needs an arm for each code.

/// Invoke `$callback` with all computing operations by kind, and with the fused pairs.
///
/// A kind says how the loop executes an operation: `alu` computes a register, `load`, `store` and `branch` speak for
/// themselves, `single`, `double` and `float` try the host's arithmetic first, `exact` does not. The pairs are those
/// that compilers emit most, as counted in running programs.
macro_rules! operations {
    ($callback:ident) => {
        $callback! {
            kinds {
                [alu Li Mv Auipc Addi Slti Sltiu Xori Ori Andi Slli Srli Srai]
                [alu Addiw Slliw Srliw Sraiw Add Sub Sll Slt Sltu Xor Srl Sra Or And]
                [alu Addw Subw Sllw Srlw Sraw Mul Mulh Mulhsu Mulhu Div Divu Rem Remu]
                [alu Mulw Divw Divuw Remw Remuw]
                [load Lb Lh Lw Ld Lbu Lhu Lwu Flw]
                [store Sb Sh Sw Sd]
                [branch Beq Bne Blt Bge Bltu Bgeu]
                [jump Jalr Jr]
                [single FaddS FsubS FmulS FdivS FsqrtS FmaddS FmsubS FnmsubS FnmaddS FcvtSD]
                [double FaddD FsubD FmulD FdivD FsqrtD FmaddD FmsubD FnmsubD FnmaddD]
                [float FeqS FltS FleS FeqD FltD FleD FcvtDW FcvtDL FcvtWD FcvtDS]
                [exact FsgnjS FsgnjnS FsgnjxS FminS FmaxS FclassS FmvXW FmvWX]
                [exact FsgnjD FsgnjnD FsgnjxD FminD FmaxD FclassD]
                [exact FcvtWS FcvtWuS FcvtLS FcvtLuS FcvtSW FcvtSWu FcvtSL FcvtSLu]
                [exact FcvtWuD FcvtLD FcvtLuD FcvtDWu FcvtDLu]
            }
            pairs {
                AddiAddi: alu Addi, alu Addi;
                AddiAdd: alu Addi, alu Add;
                AddiBne: alu Addi, branch Bne;
                AddiBeq: alu Addi, branch Beq;
                AddiBltu: alu Addi, branch Bltu;
                AddiLd: alu Addi, load Ld;
                AddiLw: alu Addi, load Lw;
                AddiLbu: alu Addi, load Lbu;
                AddiSd: alu Addi, store Sd;
                AddiSw: alu Addi, store Sw;
                AddiMv: alu Addi, alu Mv;
                AddiAuipc: alu Addi, alu Auipc;
                AddiXor: alu Addi, alu Xor;
                AddiSlli: alu Addi, alu Slli;
                AddiAddiw: alu Addi, alu Addiw;
                AddAdd: alu Add, alu Add;
                AddAddi: alu Add, alu Addi;
                AddLd: alu Add, load Ld;
                AddLw: alu Add, load Lw;
                AddLbu: alu Add, load Lbu;
                AddSd: alu Add, store Sd;
                AddSw: alu Add, store Sw;
                AddSb: alu Add, store Sb;
                AddBne: alu Add, branch Bne;
                AddBltu: alu Add, branch Bltu;
                AddSltu: alu Add, alu Sltu;
                SlliAdd: alu Slli, alu Add;
                SlliSrli: alu Slli, alu Srli;
                SlliSrai: alu Slli, alu Srai;
                SlliSlli: alu Slli, alu Slli;
                SlliOr: alu Slli, alu Or;
                SlliXor: alu Slli, alu Xor;
                SrliSrli: alu Srli, alu Srli;
                SrliAnd: alu Srli, alu And;
                SrliAndi: alu Srli, alu Andi;
                SrliAdd: alu Srli, alu Add;
                SrliXor: alu Srli, alu Xor;
                SrliBne: alu Srli, branch Bne;
                AndiBne: alu Andi, branch Bne;
                AndiBeq: alu Andi, branch Beq;
                AndiAdd: alu Andi, alu Add;
                AndiSlli: alu Andi, alu Slli;
                AndAnd: alu And, alu And;
                AndXor: alu And, alu Xor;
                AndBne: alu And, branch Bne;
                AndBeq: alu And, branch Beq;
                AndSlli: alu And, alu Slli;
                AndOr: alu And, alu Or;
                XorXor: alu Xor, alu Xor;
                XorAnd: alu Xor, alu And;
                XorSrli: alu Xor, alu Srli;
                XorSrliw: alu Xor, alu Srliw;
                XorSlli: alu Xor, alu Slli;
                XorBne: alu Xor, branch Bne;
                OrOr: alu Or, alu Or;
                OrAnd: alu Or, alu And;
                MulAdd: alu Mul, alu Add;
                MulSrli: alu Mul, alu Srli;
                AddiwBne: alu Addiw, branch Bne;
                AddiwSlli: alu Addiw, alu Slli;
                AddiwSw: alu Addiw, store Sw;
                AddiwAddiw: alu Addiw, alu Addiw;
                AddwAddiw: alu Addw, alu Addiw;
                AddwSw: alu Addw, store Sw;
                SlliwSlliw: alu Slliw, alu Slliw;
                SlliwOr: alu Slliw, alu Or;
                SrliwSrliw: alu Srliw, alu Srliw;
                SrliwAnd: alu Srliw, alu And;
                SltuAdd: alu Sltu, alu Add;
                SltuSub: alu Sltu, alu Sub;
                SubAddi: alu Sub, alu Addi;
                MvMv: alu Mv, alu Mv;
                MvLd: alu Mv, load Ld;
                LiLi: alu Li, alu Li;
                LiAddi: alu Li, alu Addi;
                LiBeq: alu Li, branch Beq;
                LiBne: alu Li, branch Bne;
                AuipcAddi: alu Auipc, alu Addi;
                AuipcLd: alu Auipc, load Ld;
                AuipcJalr: alu Auipc, jump Jalr;
                LdLd: load Ld, load Ld;
                LdAddi: load Ld, alu Addi;
                LdAdd: load Ld, alu Add;
                LdBeq: load Ld, branch Beq;
                LdBne: load Ld, branch Bne;
                LdSltu: load Ld, alu Sltu;
                LdSlli: load Ld, alu Slli;
                LdSd: load Ld, store Sd;
                LwLw: load Lw, load Lw;
                LwAddi: load Lw, alu Addi;
                LwAddiw: load Lw, alu Addiw;
                LwAdd: load Lw, alu Add;
                LwSlli: load Lw, alu Slli;
                LwBeq: load Lw, branch Beq;
                LwBne: load Lw, branch Bne;
                LbuBeq: load Lbu, branch Beq;
                LbuBne: load Lbu, branch Bne;
                LbuAddi: load Lbu, alu Addi;
                LbuAdd: load Lbu, alu Add;
                LbuLbu: load Lbu, load Lbu;
                LbuSb: load Lbu, store Sb;
                SdSd: store Sd, store Sd;
                SdAddi: store Sd, alu Addi;
                SdLd: store Sd, load Ld;
                SdMv: store Sd, alu Mv;
                SwLw: store Sw, load Lw;
                SwAddi: store Sw, alu Addi;
                SwSw: store Sw, store Sw;
                SbAddi: store Sb, alu Addi;
                SbBne: store Sb, branch Bne;
                BneAddi: branch Bne, alu Addi;
                BneLd: branch Bne, load Ld;
                BneLw: branch Bne, load Lw;
                BneLbu: branch Bne, load Lbu;
                BneSrli: branch Bne, alu Srli;
                BneAdd: branch Bne, alu Add;
                BneMv: branch Bne, alu Mv;
                BeqAddi: branch Beq, alu Addi;
                BeqLd: branch Beq, load Ld;
                BeqLw: branch Beq, load Lw;
                BeqLbu: branch Beq, load Lbu;
                BeqBeq: branch Beq, branch Beq;
                BeqMv: branch Beq, alu Mv;
            }
        }
    };
}
pub(super) use operations;

macro_rules! define {
    (
        kinds { $([$kind:ident $($code:ident)*])* }
        pairs { $($pair:ident: $first:ident $a:ident, $second:ident $b:ident;)* }
    ) => {
        /// What an operation does. `imm` is the sign-extended immediate, unless said otherwise.
        ///
        /// `Li` is rd = imm, `Auipc` rd = page + imm. A double is loaded and stored by `Ld` and `Sd`; a single is
        /// boxed by `Flw` and stored by `Sw`. In a branch, `imm` is the distance to the target in bytes of decoded
        /// operations. `Jalr` and `Jr` (which links nothing) hold the displacement above bit 16, and the page offset
        /// to link to below it. Floating-point operations hold the rounding mode, and rs3 above bit 8.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum Code {
            $($($code,)*)*
            /// Inside the page: `imm` is a distance as in a branch.
            Jal,
            /// Out of the page: `imm` is the target relative to it.
            JalFar,
            /// Our own jump inside the page; retires nothing.
            Goto,
            /// Our own jump out of the page; retires nothing.
            Leave,
            /// Half an instruction, whose other half is in the next page: `imm` is that half, or negative.
            Crossing,
            /// `imm` is funct7.
            AmoW,
            /// `imm` is funct7.
            AmoD,
            /// `imm` is the register's number, with funct3 above bit 12.
            Csr,
            /// `imm` is the upper part of the encoding.
            Fence,
            FenceI,
            Ecall,
            Ebreak,
            /// `imm` holds the encoding.
            Illegal,
            $($pair,)*
        }
    };
}
operations!(define);
