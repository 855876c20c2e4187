//! The codes of operations, listed once: [`operations`] hands the lists to whoever needs an arm for
//! each code.

/// Invoke `$callback` with all computing operations by kind, and with the fused pairs and triples.
///
/// A kind says how the loop executes an operation: `alu` computes a register, `load`, `store` and
/// `branch` speak for themselves, `call` and `jump` link, `single`, `double` and `float` try the
/// host's arithmetic first, `exact` does not. What is fused is what compilers emit most, as counted
/// in glibc and in running programs. `x` or `v` says where an operation has its first operand: from
/// the register file, or the value that the operation before it has just computed (`To`). Those
/// come first, because they are preferred.
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
                [call Jal]
                [jump Jalr Jr]
                [single FaddS FsubS FmulS FdivS FsqrtS FmaddS FmsubS FnmsubS FnmaddS FcvtSD]
                [double FaddD FsubD FmulD FdivD FsqrtD FmaddD FmsubD FnmsubD FnmaddD]
                [float FeqS FltS FleS FeqD FltD FleD FcvtDW FcvtDWu FcvtDL FcvtDLu FcvtWD FcvtDS]
                [exact FsgnjS FsgnjnS FsgnjxS FminS FmaxS FclassS FmvXW FmvWX]
                [exact FsgnjD FsgnjnD FsgnjxD FminD FmaxD FclassD]
                [exact FcvtWS FcvtWuS FcvtLS FcvtLuS FcvtSW FcvtSWu FcvtSL FcvtSLu]
                [exact FcvtWuD FcvtLD FcvtLuD]
            }
            others {
                /// Out of the page: to a target relative to it.
                JalFar
                /// Our own jump inside the page, by a distance; retires nothing.
                Goto
                /// Our own jump out of the page, to a target relative to it; retires nothing.
                Leave
                /// Half an instruction, whose other half is in the next page: `imm` is that half, or
                /// negative.
                Crossing
                /// The immediate is funct7.
                AmoW
                /// The immediate is funct7.
                AmoD
                /// `imm` is the register's number, with funct3 above bit 12.
                Csr
                /// `imm` is the upper part of the encoding.
                Fence
                FenceI
                Ecall
                Ebreak
                /// `imm` holds the encoding.
                Illegal
            }
            pairs {
                AuipcToAddi: alu Auipc x, alu Addi v; AuipcToLd: alu Auipc x, load Ld v;
                AuipcToJalr: alu Auipc x, jump Jalr v; LiToAddi: alu Li x, alu Addi v;
                LiToBeq: alu Li x, branch Beq v; LiToBne: alu Li x, branch Bne v;
                LiToBltu: alu Li x, branch Bltu v; LiToBgeu: alu Li x, branch Bgeu v;
                AddiToAdd: alu Addi x, alu Add v; AddiToSd: alu Addi x, store Sd v;
                AddiToLd: alu Addi x, load Ld v; AddiToBeq: alu Addi x, branch Beq v;
                AddiToBne: alu Addi x, branch Bne v; AddiToAnd: alu Addi x, alu And v;
                AddiToSlli: alu Addi x, alu Slli v; AddToLd: alu Add x, load Ld v;
                AddToLw: alu Add x, load Lw v; AddToLbu: alu Add x, load Lbu v;
                AddToSd: alu Add x, store Sd v; AddToSw: alu Add x, store Sw v;
                AddToSb: alu Add x, store Sb v; AddToAdd: alu Add x, alu Add v;
                AddToAddi: alu Add x, alu Addi v; SlliToAdd: alu Slli x, alu Add v;
                SlliToSrli: alu Slli x, alu Srli v; SlliToSrai: alu Slli x, alu Srai v;
                SlliToOr: alu Slli x, alu Or v; SrliToAdd: alu Srli x, alu Add v;
                SrliToAnd: alu Srli x, alu And v; SrliToAndi: alu Srli x, alu Andi v;
                SrliToBne: alu Srli x, branch Bne v; SrliToSrli: alu Srli x, alu Srli v;
                SrliToXor: alu Srli x, alu Xor v; SlliToXor: alu Slli x, alu Xor v;
                AndiToBne: alu Andi x, branch Bne v; AndiToBeq: alu Andi x, branch Beq v;
                AndiToAdd: alu Andi x, alu Add v; AndiToSlli: alu Andi x, alu Slli v;
                AndToBne: alu And x, branch Bne v; AndToBeq: alu And x, branch Beq v;
                AddiwToBne: alu Addiw x, branch Bne v; AddiwToAndi: alu Addiw x, alu Andi v;
                AddiwToSlli: alu Addiw x, alu Slli v; SltuToAdd: alu Sltu x, alu Add v;
                SltuToSub: alu Sltu x, alu Sub v; MulToAdd: alu Mul x, alu Add v;
                MulToSrli: alu Mul x, alu Srli v; XorToXor: alu Xor x, alu Xor v;
                XorToAnd: alu Xor x, alu And v; XorToSrli: alu Xor x, alu Srli v;
                XorToBne: alu Xor x, branch Bne v; OrToOr: alu Or x, alu Or v;
                AndToAnd: alu And x, alu And v; AndToXor: alu And x, alu Xor v;
                SrliwToAnd: alu Srliw x, alu And v; SrliwToOr: alu Srliw x, alu Or v;
                SlliwToOr: alu Slliw x, alu Or v; AddwToAddiw: alu Addw x, alu Addiw v;
                SubToSrli: alu Sub x, alu Srli v; LdToBeq: load Ld x, branch Beq v;
                LdToBne: load Ld x, branch Bne v; LdToLd: load Ld x, load Ld v;
                LdToXor: load Ld x, alu Xor v; LdToAdd: load Ld x, alu Add v;
                LdToAddi: load Ld x, alu Addi v; LdToSub: load Ld x, alu Sub v;
                LdToSlli: load Ld x, alu Slli v; LdToSltu: load Ld x, alu Sltu v;
                LwToAddiw: load Lw x, alu Addiw v; LwToBeq: load Lw x, branch Beq v;
                LwToBne: load Lw x, branch Bne v; LwToAndi: load Lw x, alu Andi v;
                LwToAdd: load Lw x, alu Add v; LbuToBeq: load Lbu x, branch Beq v;
                LbuToBne: load Lbu x, branch Bne v; LbuToAdd: load Lbu x, alu Add v;
                LbuToAddi: load Lbu x, alu Addi v; MvMv: alu Mv x, alu Mv x;
                MvLd: alu Mv x, load Ld x; MvLi: alu Mv x, alu Li x; MvSd: alu Mv x, store Sd x;
                MvAddi: alu Mv x, alu Addi x; MvBeq: alu Mv x, branch Beq x;
                MvBne: alu Mv x, branch Bne x; MvJal: alu Mv x, call Jal x;
                LiLi: alu Li x, alu Li x; LiMv: alu Li x, alu Mv x; LiLd: alu Li x, load Ld x;
                LiSd: alu Li x, store Sd x; LiAdd: alu Li x, alu Add x;
                LiAddi: alu Li x, alu Addi x; LiBeq: alu Li x, branch Beq x;
                LiBne: alu Li x, branch Bne x; LiJal: alu Li x, call Jal x;
                LiAuipc: alu Li x, alu Auipc x; AddiAddi: alu Addi x, alu Addi x;
                AddiAdd: alu Addi x, alu Add x; AddiLi: alu Addi x, alu Li x;
                AddiMv: alu Addi x, alu Mv x; AddiSd: alu Addi x, store Sd x;
                AddiLd: alu Addi x, load Ld x; AddiLw: alu Addi x, load Lw x;
                AddiLbu: alu Addi x, load Lbu x; AddiAuipc: alu Addi x, alu Auipc x;
                AddiBeq: alu Addi x, branch Beq x; AddiBne: alu Addi x, branch Bne x;
                AddiBltu: alu Addi x, branch Bltu x; AddiJal: alu Addi x, call Jal x;
                AddiJr: alu Addi x, jump Jr x; AddiXor: alu Addi x, alu Xor x;
                AddiSlli: alu Addi x, alu Slli x; AddAdd: alu Add x, alu Add x;
                AddAddi: alu Add x, alu Addi x; AddSd: alu Add x, store Sd x;
                AddLd: alu Add x, load Ld x; AddBne: alu Add x, branch Bne x;
                AddBltu: alu Add x, branch Bltu x; SlliSlli: alu Slli x, alu Slli x;
                SlliLd: alu Slli x, load Ld x; SlliSrli: alu Slli x, alu Srli x;
                SrliSlli: alu Srli x, alu Slli x; XorXor: alu Xor x, alu Xor x;
                XorSrliw: alu Xor x, alu Srliw x; XorLi: alu Xor x, alu Li x;
                AndAnd: alu And x, alu And x; OrAnd: alu Or x, alu And x;
                SlliwSlliw: alu Slliw x, alu Slliw x; SrliSrli: alu Srli x, alu Srli x;
                SraiSrai: alu Srai x, alu Srai x; SrliwSlli: alu Srliw x, alu Slli x;
                SlliSlliw: alu Slli x, alu Slliw x; SubSub: alu Sub x, alu Sub x;
                AddiwSw: alu Addiw x, store Sw x; AddiwSlli: alu Addiw x, alu Slli x;
                LdLd: load Ld x, load Ld x; LdAddi: load Ld x, alu Addi x;
                LdAdd: load Ld x, alu Add x; LdMv: load Ld x, alu Mv x; LdLi: load Ld x, alu Li x;
                LdSd: load Ld x, store Sd x; LdSlli: load Ld x, alu Slli x;
                LdBeq: load Ld x, branch Beq x; LdBne: load Ld x, branch Bne x;
                LdBgeu: load Ld x, branch Bgeu x; LdBltu: load Ld x, branch Bltu x;
                LdAuipc: load Ld x, alu Auipc x; LwLw: load Lw x, load Lw x;
                LwLi: load Lw x, alu Li x; LwAddi: load Lw x, alu Addi x;
                LbuLbu: load Lbu x, load Lbu x; LbuAddi: load Lbu x, alu Addi x;
                LbuSb: load Lbu x, store Sb x; SdSd: store Sd x, store Sd x;
                SdLd: store Sd x, load Ld x; SdLi: store Sd x, alu Li x;
                SdMv: store Sd x, alu Mv x; SdAddi: store Sd x, alu Addi x;
                SdJal: store Sd x, call Jal x; SdBeq: store Sd x, branch Beq x;
                SdAuipc: store Sd x, alu Auipc x; SdSlli: store Sd x, alu Slli x;
                SwSw: store Sw x, store Sw x; SwLw: store Sw x, load Lw x;
                SwLi: store Sw x, alu Li x; SwAddi: store Sw x, alu Addi x;
                SbSb: store Sb x, store Sb x; SbAddi: store Sb x, alu Addi x;
                SbBne: store Sb x, branch Bne x; BneLd: branch Bne x, load Ld x;
                BneLi: branch Bne x, alu Li x; BneMv: branch Bne x, alu Mv x;
                BneAddi: branch Bne x, alu Addi x; BneLw: branch Bne x, load Lw x;
                BneLbu: branch Bne x, load Lbu x; BneSrli: branch Bne x, alu Srli x;
                BneBeq: branch Bne x, branch Beq x; BneAdd: branch Bne x, alu Add x;
                BeqLd: branch Beq x, load Ld x; BeqLi: branch Beq x, alu Li x;
                BeqMv: branch Beq x, alu Mv x; BeqAddi: branch Beq x, alu Addi x;
                BeqLw: branch Beq x, load Lw x; BeqLbu: branch Beq x, load Lbu x;
                BeqBeq: branch Beq x, branch Beq x; BeqAuipc: branch Beq x, alu Auipc x;
                BgeuLd: branch Bgeu x, load Ld x; BgeuMv: branch Bgeu x, alu Mv x;
                BltuLd: branch Bltu x, load Ld x; BltuMv: branch Bltu x, alu Mv x;
                BltuSd: branch Bltu x, store Sd x; BltuSlli: branch Bltu x, alu Slli x;
            }
            triples {
                LiToAddiToAdd: alu Li x, alu Addi v, alu Add v;
                AddiToAddToLd: alu Addi x, alu Add v, load Ld v;
                AddiToAddToSd: alu Addi x, alu Add v, store Sd v;
                AuipcToLdToLd: alu Auipc x, load Ld v, load Ld v;
                SlliToAddToLd: alu Slli x, alu Add v, load Ld v;
                SlliToAddToLw: alu Slli x, alu Add v, load Lw v;
                SlliToAddToSd: alu Slli x, alu Add v, store Sd v;
                SlliToSrliToAdd: alu Slli x, alu Srli v, alu Add v;
                AddToLbuToBeq: alu Add x, load Lbu v, branch Beq v;
                AddToLbuToBne: alu Add x, load Lbu v, branch Bne v;
                AuipcToAddiToAdd: alu Auipc x, alu Addi v, alu Add v;
                AddToLdToSltu: alu Add x, load Ld v, alu Sltu v;
                LdLdToBeq: load Ld x, load Ld x, branch Beq v;
                LdLdToXor: load Ld x, load Ld x, alu Xor v;
                AddiAuipcToAddi: alu Addi x, alu Auipc x, alu Addi v;
                AddToSbBne: alu Add x, store Sb v, branch Bne x;
                AddAddToSb: alu Add x, alu Add x, store Sb v;
                MulToAddAddi: alu Mul x, alu Add v, alu Addi x;
                LbuAddiToXor: load Lbu x, alu Addi x, alu Xor v;
                SlliLdToAdd: alu Slli x, load Ld x, alu Add v;
                SrliToBneAddi: alu Srli x, branch Bne v, alu Addi x;
                LdLdLd: load Ld x, load Ld x, load Ld x;
                SdSdSd: store Sd x, store Sd x, store Sd x; MvMvMv: alu Mv x, alu Mv x, alu Mv x;
                LiLiLi: alu Li x, alu Li x, alu Li x; LdAddiJr: load Ld x, alu Addi x, jump Jr x;
                LdLdAddi: load Ld x, load Ld x, alu Addi x;
                MvMvJal: alu Mv x, alu Mv x, call Jal x; LdLdMv: load Ld x, load Ld x, alu Mv x;
                BneLdLd: branch Bne x, load Ld x, load Ld x;
                BeqLdLd: branch Beq x, load Ld x, load Ld x;
                SdSdMv: store Sd x, store Sd x, alu Mv x;
                SbSbSb: store Sb x, store Sb x, store Sb x;
                AddiAddiBne: alu Addi x, alu Addi x, branch Bne x;
                AddiAddBne: alu Addi x, alu Add x, branch Bne x;
                AddAddiBne: alu Add x, alu Addi x, branch Bne x;
                AddiBeqAddi: alu Addi x, branch Beq x, alu Addi x;
                BeqAddiBeq: branch Beq x, alu Addi x, branch Beq x;
                LdLdSltu: load Ld x, load Ld x, alu Sltu x;
                XorXorXor: alu Xor x, alu Xor x, alu Xor x;
                AndAndAnd: alu And x, alu And x, alu And x;
                SlliwSlliwSlliw: alu Slliw x, alu Slliw x, alu Slliw x;
                SrliSrliSrli: alu Srli x, alu Srli x, alu Srli x;
                LwLwAddi: load Lw x, load Lw x, alu Addi x;
                SdSdAddi: store Sd x, store Sd x, alu Addi x;
                BltuSdAddi: branch Bltu x, store Sd x, alu Addi x;
                SdAddiBltu: store Sd x, alu Addi x, branch Bltu x;
                BneAddiAuipc: branch Bne x, alu Addi x, alu Auipc x;
            }
        }
    };
}
pub(super) use operations;

macro_rules! define {
    (
        kinds { $([$kind:ident $($code:ident)*])* }
        others { $($(#[$doc:meta])* $other:ident)* }
        pairs { $($pair:ident: $($_pair:ident)*, $($_of:ident)*;)* }
        triples { $($triple:ident: $($_triple:ident)*, $($_by:ident)*, $($_three:ident)*;)* }
    ) => {
        /// What an operation does. `imm` is the sign-extended immediate, unless said otherwise.
        ///
        /// `Li` is rd = imm, `Auipc` rd = page + imm. A double is loaded and stored by `Ld` and
        /// `Sd`; a single is boxed by `Flw` and stored by `Sw`. In a branch, `imm` is the distance
        /// to the target in bytes of decoded operations. `Jalr` and `Jr` (which links nothing) hold
        /// the displacement above bit 16, and the page offset to link to below it. Where
        /// there is a second source, it is in the lowest byte and the immediate above it: of a
        /// floating-point operation that is the rounding mode, and rs3 above 8 bits.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub(super) enum Code {
            $($($code,)*)*
            $($(#[$doc])* $other,)*
            $($pair,)*
            $($triple,)*
        }

        impl Code {
            /// All codes, in order.
            pub const ALL: &[Code] = &[
                $($(Code::$code,)*)* $(Code::$other,)* $(Code::$pair,)* $(Code::$triple,)*
            ];
        }
    };
}
operations!(define);
