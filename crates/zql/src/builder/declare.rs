//! Declares tables once, for the builder and for the schema.

use std::marker::PhantomData;

use super::catalog::{Cardinality, Hop, Relationship};
use super::typed::{Column, Kind, Table};
use crate::ast::Correlation;

/// What `one` means in a declaration.
pub const fn one() -> Cardinality {
    Cardinality::One
}

/// What `many` means in a declaration.
pub const fn many() -> Cardinality {
    Cardinality::Many
}

/// A hop from rows of `A` to rows of `B`: columns of one kind are equal.
pub struct HopBetween<A, B> {
    hop: Hop,
    of: PhantomData<fn() -> (A, B)>,
}

impl<A, B: Table> HopBetween<A, B> {
    /// A hop without columns yet.
    pub fn new(cardinality: Cardinality) -> Self {
        HopBetween {
            hop: Hop {
                table: B::NAME.to_owned(),
                correlation: Correlation {
                    parent_field: Vec::new(),
                    child_field: Vec::new(),
                },
                cardinality,
            },
            of: PhantomData,
        }
    }

    /// Where these columns are equal.
    #[must_use]
    pub fn on<K: Kind, L: Kind<Base = K::Base>>(
        mut self,
        own: Column<A, K>,
        other: Column<B, L>,
    ) -> Self {
        let correlation = &mut self.hop.correlation;
        correlation.parent_field.push(own.name().to_owned());
        correlation.child_field.push(other.name().to_owned());
        self
    }

    /// A relationship of this hop to a junction table and one from there.
    pub fn through<C>(self, second: HopBetween<B, C>) -> Relationship {
        Relationship {
            first: self.hop,
            second: Some(second.hop),
        }
    }
}

impl<A, B> From<HopBetween<A, B>> for Relationship {
    fn from(first: HopBetween<A, B>) -> Relationship {
        Relationship {
            first: first.hop,
            second: None,
        }
    }
}

/// Declares tables, their columns and relationships.
///
/// Each table becomes a module with a constant per column and relationship, and a type `Table`.
/// A name follows each `=`, and after `as` the name at the server where it differs.
/// A relationship gives pairs of columns that are equal, and may lead on from a junction table behind `->`.
/// `catalog()` puts all of them together.
///
/// ```
/// landfall_zql::tables! {
///     /// What has to be done.
///     pub mod issue = "issue" as "issues" {
///         columns {
///             ID: String = "id",
///             /// NULL as long as nobody has ranked it.
///             RANK: Option<f64> = "rank",
///             META: Option<Json> = "meta",
///         }
///         key (ID)
///         relationships {
///             many LABELS = "labels": issue_label(ID = ISSUE_ID) -> label(LABEL_ID = ID),
///         }
///     }
///
///     pub mod issue_label = "issueLabel" {
///         columns {
///             ISSUE_ID: String = "issueID" as "issue_id",
///             LABEL_ID: String = "labelID" as "label_id",
///         }
///         key (ISSUE_ID, LABEL_ID)
///     }
///
///     pub mod label = "label" {
///         columns {
///             ID: String = "id",
///             NAME: String = "name",
///         }
///         key (ID)
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// assert!(catalog()?.relationship("issue", "labels").is_some());
/// # Ok(())
/// # }
/// ```
#[macro_export]
macro_rules! tables {
    (@server) => { None };
    (@server $server:literal) => { Some($server) };
    (@last $hop:ident) => { super::$hop::Table };
    (@last $hop:ident $far:ident) => { super::$far::Table };

    ($(
        $(#[$doc:meta])*
        $vis:vis mod $table:ident = $name:literal $(as $server:literal)? {
            columns {
                $(
                    $(#[$column_doc:meta])*
                    $column:ident : $kind:ty = $column_name:literal $(as $column_server:literal)?
                ),+ $(,)?
            }
            key ($($key:ident),+ $(,)?)
            $(relationships {
                $(
                    $(#[$relationship_doc:meta])*
                    $cardinality:ident $relationship:ident = $relationship_name:literal :
                    $hop:ident ($($own:ident = $near:ident),+ $(,)?)
                    $(-> $far:ident ($($through:ident = $there:ident),+ $(,)?))?
                ),+ $(,)?
            })?
        }
    )+) => {
        $(
            $(#[$doc])*
            $vis mod $table {
                #[allow(unused_imports)]
                use super::*;
                #[allow(unused_imports)]
                use $crate::builder::{self, Json};

                #[doc = concat!("The table `", $name, "`.")]
                #[derive(Clone, Copy, Debug)]
                pub struct Table;

                $(
                    #[doc = concat!("Column `", $column_name, "`.")]
                    $(#[$column_doc])*
                    pub const $column: builder::Column<Table, $kind> =
                        builder::Column::new($column_name);
                )+

                $($(
                    #[doc = concat!("Relationship `", $relationship_name, "`.")]
                    $(#[$relationship_doc])*
                    pub const $relationship: builder::RelationshipTo<
                        Table,
                        $crate::tables!(@last $hop $($far)?),
                    > = builder::RelationshipTo::new($relationship_name, || {
                        let first = builder::HopBetween::<Table, super::$hop::Table>::new(
                            builder::$cardinality(),
                        );
                        first
                            $(.on($own, super::$hop::$near))+
                            $(.through(
                                builder::HopBetween::<super::$hop::Table, super::$far::Table>::new(
                                    builder::$cardinality(),
                                )
                                $(.on(super::$hop::$through, super::$far::$there))+
                            ))?
                            .into()
                    });
                )+)?

                impl builder::Table for Table {
                    const NAME: &'static str = $name;

                    fn declaration() -> builder::Declaration {
                        builder::Declaration::new($name, $crate::tables!(@server $($server)?))
                            $(.column($column, $crate::tables!(@server $($column_server)?)))+
                            $(.key($key))+
                            $($(.relationship($relationship))+)?
                    }
                }
            }
        )+

        /// All declared tables with their relationships.
        ///
        /// # Errors
        /// The declarations contradict each other.
        pub fn catalog() -> Result<$crate::builder::Catalog, $crate::builder::CatalogError> {
            $crate::builder::Catalog::new([
                $(<$table::Table as $crate::builder::Table>::declaration()),+
            ])
        }
    };
}
