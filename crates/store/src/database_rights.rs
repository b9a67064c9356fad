//! The rights of a user on a database and on the schema in it, for `retail doctor`. The schema need not exist.

use tokio_postgres::types::Type;

use crate::error::DatabaseError;
use crate::session::Session;

/// The rights of the user of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DatabaseRights {
    /// The user.
    pub user: String,
    /// Whether the user may create schemas in the database.
    pub can_create: bool,
    /// The rights on the schema; `None` if it does not exist.
    pub schema: Option<SchemaRights>,
    /// Those of the named roles that do not exist.
    pub missing_roles: Vec<String>,
}

/// The rights on the schema.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SchemaRights {
    /// The role that owns it.
    pub owner: String,
    /// Whether the user has the rights of the owner, which `retail apply-schema` needs.
    pub has_owner: bool,
    /// Whether the user may see the tables.
    pub can_use: bool,
}

const SELECT: &str = "
    SELECT current_user::text AS role, has_database_privilege(current_database(), 'CREATE') AS can_create,
           n.owner, pg_has_role(n.nspowner, 'USAGE') AS has_owner, has_schema_privilege(n.oid, 'USAGE') AS can_use,
           ARRAY(SELECT name FROM unnest($2::text[]) name WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name)) AS missing_roles
    FROM (VALUES (true)) AS always(present)
    LEFT JOIN (SELECT oid, nspowner, pg_get_userbyid(nspowner)::text AS owner FROM pg_namespace WHERE nspname = $1) n ON true";

impl DatabaseRights {
    /// Reads the rights, and which of `roles` exist.
    pub async fn read(session: &Session, roles: &[&str]) -> Result<Self, DatabaseError> {
        let schema = &session.connection().schema;
        let row = session.query_one(SELECT, &[(schema, Type::TEXT), (&roles, Type::TEXT_ARRAY)]).await?;
        let owner: Option<String> = row.get("owner");
        let schema =
            owner.map(|owner| SchemaRights { owner, has_owner: row.get("has_owner"), can_use: row.get("can_use") });
        Ok(Self {
            user: row.get("role"),
            can_create: row.get("can_create"),
            schema,
            missing_roles: row.get("missing_roles"),
        })
    }
}
