//! The codes of operations, listed once: [`operations`] hands the lists to whoever needs something
//! for each code.

/// Invoke `$callback` with all computing operations by kind, and with the fused pairs and triples.
///
/// A kind says how an operation is executed: `Alu` computes a register, `Load`, `Store` and
/// `Branch` speak for themselves, `Call` and `Jump` link, `Single`, `Double` and `Float` try the
/// host's arithmetic first, `Exact` does not; the others have each their own. What is fused is what compilers emit most, as counted
/// in glibc and in running programs. `x` or `v` says where an operation has its first operand: from
/// the register file, or the value that the operation before it has just computed (`To`). Those
/// come first, because they are preferred.
macro_rules! operations {
    ($callback:ident) => {
        $callback! {
            kinds {
                [Alu Li Mv Auipc Addi Slti Sltiu Xori Ori Andi Slli Srli Srai]
                [Alu Addiw Slliw Srliw Sraiw Add Sub Sll Slt Sltu Xor Srl Sra Or And]
                [Alu Addw Subw Sllw Srlw Sraw Mul Mulh Mulhsu Mulhu Div Divu Rem Remu]
                [Alu Mulw Divw Divuw Remw Remuw]
                [Load Lb Lh Lw Ld Lbu Lhu Lwu Flw]
                [Store Sb Sh Sw Sd]
                [Branch Beq Bne Blt Bge Bltu Bgeu]
                [Call Jal]
                [Jump Jalr Jr]
                [Single FaddS FsubS FmulS FdivS FsqrtS FmaddS FmsubS FnmsubS FnmaddS FcvtSD]
                [Double FaddD FsubD FmulD FdivD FsqrtD FmaddD FmsubD FnmsubD FnmaddD]
                [Float FeqS FltS FleS FeqD FltD FleD FcvtDW FcvtDWu FcvtDL FcvtDLu FcvtWD FcvtDS]
                [Exact FsgnjS FsgnjnS FsgnjxS FminS FmaxS FclassS FmvXW FmvWX]
                [Exact FsgnjD FsgnjnD FsgnjxD FminD FmaxD FclassD]
                [Exact FcvtWS FcvtWuS FcvtLS FcvtLuS FcvtSW FcvtSWu FcvtSL FcvtSLu]
                [Exact FcvtWuD FcvtLD FcvtLuD]
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
                AuipcToAddi: Alu Auipc x, Alu Addi v; AuipcToLd: Alu Auipc x, Load Ld v;
                AuipcToJalr: Alu Auipc x, Jump Jalr v; LiToAddi: Alu Li x, Alu Addi v;
                LiToBeq: Alu Li x, Branch Beq v; LiToBne: Alu Li x, Branch Bne v;
                LiToBltu: Alu Li x, Branch Bltu v; LiToBgeu: Alu Li x, Branch Bgeu v;
                AddiToAdd: Alu Addi x, Alu Add v; AddiToSd: Alu Addi x, Store Sd v;
                AddiToLd: Alu Addi x, Load Ld v; AddiToBeq: Alu Addi x, Branch Beq v;
                AddiToBne: Alu Addi x, Branch Bne v; AddiToAnd: Alu Addi x, Alu And v;
                AddiToSlli: Alu Addi x, Alu Slli v; AddToLd: Alu Add x, Load Ld v;
                AddToLw: Alu Add x, Load Lw v; AddToLbu: Alu Add x, Load Lbu v;
                AddToSd: Alu Add x, Store Sd v; AddToSw: Alu Add x, Store Sw v;
                AddToSb: Alu Add x, Store Sb v; AddToAdd: Alu Add x, Alu Add v;
                AddToAddi: Alu Add x, Alu Addi v; SlliToAdd: Alu Slli x, Alu Add v;
                SlliToSrli: Alu Slli x, Alu Srli v; SlliToSrai: Alu Slli x, Alu Srai v;
                SlliToOr: Alu Slli x, Alu Or v; SrliToAdd: Alu Srli x, Alu Add v;
                SrliToAnd: Alu Srli x, Alu And v; SrliToAndi: Alu Srli x, Alu Andi v;
                SrliToBne: Alu Srli x, Branch Bne v; SrliToSrli: Alu Srli x, Alu Srli v;
                SrliToXor: Alu Srli x, Alu Xor v; SlliToXor: Alu Slli x, Alu Xor v;
                AndiToBne: Alu Andi x, Branch Bne v; AndiToBeq: Alu Andi x, Branch Beq v;
                AndiToAdd: Alu Andi x, Alu Add v; AndiToSlli: Alu Andi x, Alu Slli v;
                AndToBne: Alu And x, Branch Bne v; AndToBeq: Alu And x, Branch Beq v;
                AddiwToBne: Alu Addiw x, Branch Bne v; AddiwToAndi: Alu Addiw x, Alu Andi v;
                AddiwToSlli: Alu Addiw x, Alu Slli v; SltuToAdd: Alu Sltu x, Alu Add v;
                SltuToSub: Alu Sltu x, Alu Sub v; MulToAdd: Alu Mul x, Alu Add v;
                MulToSrli: Alu Mul x, Alu Srli v; XorToXor: Alu Xor x, Alu Xor v;
                XorToAnd: Alu Xor x, Alu And v; XorToSrli: Alu Xor x, Alu Srli v;
                XorToBne: Alu Xor x, Branch Bne v; OrToOr: Alu Or x, Alu Or v;
                AndToAnd: Alu And x, Alu And v; AndToXor: Alu And x, Alu Xor v;
                SrliwToAnd: Alu Srliw x, Alu And v; SrliwToOr: Alu Srliw x, Alu Or v;
                SlliwToOr: Alu Slliw x, Alu Or v; AddwToAddiw: Alu Addw x, Alu Addiw v;
                SubToSrli: Alu Sub x, Alu Srli v; LdToBeq: Load Ld x, Branch Beq v;
                LdToBne: Load Ld x, Branch Bne v; LdToLd: Load Ld x, Load Ld v;
                LdToXor: Load Ld x, Alu Xor v; LdToAdd: Load Ld x, Alu Add v;
                LdToAddi: Load Ld x, Alu Addi v; LdToSub: Load Ld x, Alu Sub v;
                LdToSlli: Load Ld x, Alu Slli v; LdToSltu: Load Ld x, Alu Sltu v;
                LwToAddiw: Load Lw x, Alu Addiw v; LwToBeq: Load Lw x, Branch Beq v;
                LwToBne: Load Lw x, Branch Bne v; LwToAndi: Load Lw x, Alu Andi v;
                LwToAdd: Load Lw x, Alu Add v; LbuToBeq: Load Lbu x, Branch Beq v;
                LbuToBne: Load Lbu x, Branch Bne v; LbuToAdd: Load Lbu x, Alu Add v;
                LbuToAddi: Load Lbu x, Alu Addi v; MvMv: Alu Mv x, Alu Mv x;
                MvLd: Alu Mv x, Load Ld x; MvLi: Alu Mv x, Alu Li x; MvSd: Alu Mv x, Store Sd x;
                MvAddi: Alu Mv x, Alu Addi x; MvBeq: Alu Mv x, Branch Beq x;
                MvBne: Alu Mv x, Branch Bne x; MvJal: Alu Mv x, Call Jal x;
                LiLi: Alu Li x, Alu Li x; LiMv: Alu Li x, Alu Mv x; LiLd: Alu Li x, Load Ld x;
                LiSd: Alu Li x, Store Sd x; LiAdd: Alu Li x, Alu Add x;
                LiAddi: Alu Li x, Alu Addi x; LiBeq: Alu Li x, Branch Beq x;
                LiBne: Alu Li x, Branch Bne x; LiJal: Alu Li x, Call Jal x;
                LiAuipc: Alu Li x, Alu Auipc x; AddiAddi: Alu Addi x, Alu Addi x;
                AddiAdd: Alu Addi x, Alu Add x; AddiLi: Alu Addi x, Alu Li x;
                AddiMv: Alu Addi x, Alu Mv x; AddiSd: Alu Addi x, Store Sd x;
                AddiLd: Alu Addi x, Load Ld x; AddiLw: Alu Addi x, Load Lw x;
                AddiLbu: Alu Addi x, Load Lbu x; AddiAuipc: Alu Addi x, Alu Auipc x;
                AddiBeq: Alu Addi x, Branch Beq x; AddiBne: Alu Addi x, Branch Bne x;
                AddiBltu: Alu Addi x, Branch Bltu x; AddiJal: Alu Addi x, Call Jal x;
                AddiJr: Alu Addi x, Jump Jr x; AddiXor: Alu Addi x, Alu Xor x;
                AddiSlli: Alu Addi x, Alu Slli x; AddAdd: Alu Add x, Alu Add x;
                AddAddi: Alu Add x, Alu Addi x; AddSd: Alu Add x, Store Sd x;
                AddLd: Alu Add x, Load Ld x; AddBne: Alu Add x, Branch Bne x;
                AddBltu: Alu Add x, Branch Bltu x; SlliSlli: Alu Slli x, Alu Slli x;
                SlliLd: Alu Slli x, Load Ld x; SlliSrli: Alu Slli x, Alu Srli x;
                SrliSlli: Alu Srli x, Alu Slli x; XorXor: Alu Xor x, Alu Xor x;
                XorSrliw: Alu Xor x, Alu Srliw x; XorLi: Alu Xor x, Alu Li x;
                AndAnd: Alu And x, Alu And x; OrAnd: Alu Or x, Alu And x;
                SlliwSlliw: Alu Slliw x, Alu Slliw x; SrliSrli: Alu Srli x, Alu Srli x;
                SraiSrai: Alu Srai x, Alu Srai x; SrliwSlli: Alu Srliw x, Alu Slli x;
                SlliSlliw: Alu Slli x, Alu Slliw x; SubSub: Alu Sub x, Alu Sub x;
                AddiwSw: Alu Addiw x, Store Sw x; AddiwSlli: Alu Addiw x, Alu Slli x;
                LdLd: Load Ld x, Load Ld x; LdAddi: Load Ld x, Alu Addi x;
                LdAdd: Load Ld x, Alu Add x; LdMv: Load Ld x, Alu Mv x; LdLi: Load Ld x, Alu Li x;
                LdSd: Load Ld x, Store Sd x; LdSlli: Load Ld x, Alu Slli x;
                LdBeq: Load Ld x, Branch Beq x; LdBne: Load Ld x, Branch Bne x;
                LdBgeu: Load Ld x, Branch Bgeu x; LdBltu: Load Ld x, Branch Bltu x;
                LdAuipc: Load Ld x, Alu Auipc x; LwLw: Load Lw x, Load Lw x;
                LwLi: Load Lw x, Alu Li x; LwAddi: Load Lw x, Alu Addi x;
                LbuLbu: Load Lbu x, Load Lbu x; LbuAddi: Load Lbu x, Alu Addi x;
                LbuSb: Load Lbu x, Store Sb x; SdSd: Store Sd x, Store Sd x;
                SdLd: Store Sd x, Load Ld x; SdLi: Store Sd x, Alu Li x;
                SdMv: Store Sd x, Alu Mv x; SdAddi: Store Sd x, Alu Addi x;
                SdJal: Store Sd x, Call Jal x; SdBeq: Store Sd x, Branch Beq x;
                SdAuipc: Store Sd x, Alu Auipc x; SdSlli: Store Sd x, Alu Slli x;
                SwSw: Store Sw x, Store Sw x; SwLw: Store Sw x, Load Lw x;
                SwLi: Store Sw x, Alu Li x; SwAddi: Store Sw x, Alu Addi x;
                SbSb: Store Sb x, Store Sb x; SbAddi: Store Sb x, Alu Addi x;
                SbBne: Store Sb x, Branch Bne x; BneLd: Branch Bne x, Load Ld x;
                BneLi: Branch Bne x, Alu Li x; BneMv: Branch Bne x, Alu Mv x;
                BneAddi: Branch Bne x, Alu Addi x; BneLw: Branch Bne x, Load Lw x;
                BneLbu: Branch Bne x, Load Lbu x; BneSrli: Branch Bne x, Alu Srli x;
                BneBeq: Branch Bne x, Branch Beq x; BneAdd: Branch Bne x, Alu Add x;
                BeqLd: Branch Beq x, Load Ld x; BeqLi: Branch Beq x, Alu Li x;
                BeqMv: Branch Beq x, Alu Mv x; BeqAddi: Branch Beq x, Alu Addi x;
                BeqLw: Branch Beq x, Load Lw x; BeqLbu: Branch Beq x, Load Lbu x;
                BeqBeq: Branch Beq x, Branch Beq x; BeqAuipc: Branch Beq x, Alu Auipc x;
                BgeuLd: Branch Bgeu x, Load Ld x; BgeuMv: Branch Bgeu x, Alu Mv x;
                BltuLd: Branch Bltu x, Load Ld x; BltuMv: Branch Bltu x, Alu Mv x;
                BltuSd: Branch Bltu x, Store Sd x; BltuSlli: Branch Bltu x, Alu Slli x;
            }
            triples {
                LiToAddiToAdd: Alu Li x, Alu Addi v, Alu Add v;
                AddiToAddToLd: Alu Addi x, Alu Add v, Load Ld v;
                AddiToAddToSd: Alu Addi x, Alu Add v, Store Sd v;
                AuipcToLdToLd: Alu Auipc x, Load Ld v, Load Ld v;
                SlliToAddToLd: Alu Slli x, Alu Add v, Load Ld v;
                SlliToAddToLw: Alu Slli x, Alu Add v, Load Lw v;
                SlliToAddToSd: Alu Slli x, Alu Add v, Store Sd v;
                SlliToSrliToAdd: Alu Slli x, Alu Srli v, Alu Add v;
                AddToLbuToBeq: Alu Add x, Load Lbu v, Branch Beq v;
                AddToLbuToBne: Alu Add x, Load Lbu v, Branch Bne v;
                AuipcToAddiToAdd: Alu Auipc x, Alu Addi v, Alu Add v;
                AddToLdToSltu: Alu Add x, Load Ld v, Alu Sltu v;
                LdLdToBeq: Load Ld x, Load Ld x, Branch Beq v;
                LdLdToXor: Load Ld x, Load Ld x, Alu Xor v;
                AddiAuipcToAddi: Alu Addi x, Alu Auipc x, Alu Addi v;
                AddToSbBne: Alu Add x, Store Sb v, Branch Bne x;
                AddAddToSb: Alu Add x, Alu Add x, Store Sb v;
                MulToAddAddi: Alu Mul x, Alu Add v, Alu Addi x;
                LbuAddiToXor: Load Lbu x, Alu Addi x, Alu Xor v;
                SlliLdToAdd: Alu Slli x, Load Ld x, Alu Add v;
                SrliToBneAddi: Alu Srli x, Branch Bne v, Alu Addi x;
                LdLdLd: Load Ld x, Load Ld x, Load Ld x;
                SdSdSd: Store Sd x, Store Sd x, Store Sd x; MvMvMv: Alu Mv x, Alu Mv x, Alu Mv x;
                LiLiLi: Alu Li x, Alu Li x, Alu Li x; LdAddiJr: Load Ld x, Alu Addi x, Jump Jr x;
                LdLdAddi: Load Ld x, Load Ld x, Alu Addi x;
                MvMvJal: Alu Mv x, Alu Mv x, Call Jal x; LdLdMv: Load Ld x, Load Ld x, Alu Mv x;
                BneLdLd: Branch Bne x, Load Ld x, Load Ld x;
                BeqLdLd: Branch Beq x, Load Ld x, Load Ld x;
                SdSdMv: Store Sd x, Store Sd x, Alu Mv x;
                SbSbSb: Store Sb x, Store Sb x, Store Sb x;
                AddiAddiBne: Alu Addi x, Alu Addi x, Branch Bne x;
                AddiAddBne: Alu Addi x, Alu Add x, Branch Bne x;
                AddAddiBne: Alu Add x, Alu Addi x, Branch Bne x;
                AddiBeqAddi: Alu Addi x, Branch Beq x, Alu Addi x;
                BeqAddiBeq: Branch Beq x, Alu Addi x, Branch Beq x;
                LdLdSltu: Load Ld x, Load Ld x, Alu Sltu x;
                XorXorXor: Alu Xor x, Alu Xor x, Alu Xor x;
                AndAndAnd: Alu And x, Alu And x, Alu And x;
                SlliwSlliwSlliw: Alu Slliw x, Alu Slliw x, Alu Slliw x;
                SrliSrliSrli: Alu Srli x, Alu Srli x, Alu Srli x;
                LwLwAddi: Load Lw x, Load Lw x, Alu Addi x;
                SdSdAddi: Store Sd x, Store Sd x, Alu Addi x;
                BltuSdAddi: Branch Bltu x, Store Sd x, Alu Addi x;
                SdAddiBltu: Store Sd x, Alu Addi x, Branch Bltu x;
                BneAddiAuipc: Branch Bne x, Alu Addi x, Alu Auipc x;
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
